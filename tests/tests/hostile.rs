//! Strangers at every port: random bytes, damaged packets, streams that never say anything, HTTP
//! bodies and heads without end, DNS garbage. The agent stays up and small, its members stay as
//! they were, and the counters tell what was dropped.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use hickory_proto::rr::RecordType;
use quorate_tests::{Agent, Lab, Random, dns, eventually, http, lab, process::resident_kib};

const SOON: Duration = Duration::from_secs(30);
/// What an agent may grow by while it is pestered: debug build, allocator and all.
const GROWTH_KIB: u64 = 32 << 10;
const BOTH: [(&str, &str); 2] = [("agent-one", "alive"), ("agent-two", "alive")];

/// Two joined agents, and how large they were.
struct Pair {
    one: Agent,
    two: Agent,
    before_kib: [Option<u64>; 2],
}

impl Pair {
    fn start(lab: &Lab) -> Self {
        let one = lab.agent("agent-one", "127.0.0.10").server().start();
        let two = lab.agent("agent-two", "127.0.0.11").arg("-join=127.0.0.10").start();
        one.sees(&BOTH, SOON);
        two.sees(&BOTH, SOON);
        let before_kib = [&one, &two].map(|a| resident_kib(a.process.pid()));
        Self { one, two, before_kib }
    }

    /// Still there, still small, still answering, and nobody was declared failed.
    fn assert_untouched(&mut self) {
        for (agent, before) in [&mut self.one, &mut self.two].into_iter().zip(self.before_kib) {
            assert_eq!(agent.process.ended(), None, "{} has ended:\n{}", agent.name, agent.tail());
            agent.sees(&BOTH, SOON);
            let found = agent.dig("agent-two.node.consul.", RecordType::A);
            assert_eq!(found.answers().len(), 1, "{}", agent.tail());
            for sign in ["member failed", "panicked", "member alive: \u{fffd}"] {
                assert!(agent.process.lines_with(sign).is_empty(), "{sign}:\n{}", agent.tail());
            }
            if let (Some(before), Some(now)) = (before, resident_kib(agent.process.pid())) {
                let grown = now.saturating_sub(before);
                println!("{}: {before} KiB, then {now} KiB", agent.name);
                assert!(grown < GROWTH_KIB, "{} grew by {grown} KiB", agent.name);
            }
        }
    }
}

fn stranger() -> UdpSocket {
    UdpSocket::bind("127.0.0.66:0").expect("a socket")
}

/// An agent without room resets at once, on a busy machine before we hear that we are connected.
fn connect(to: SocketAddr) -> TcpStream {
    let taken = (0..20).find_map(|_| match TcpStream::connect_timeout(&to, SOON) {
        Err(e) if e.kind() == ErrorKind::ConnectionReset => None,
        taken => Some(taken),
    });
    let stream = taken.expect("not always reset").expect("the kernel takes the connection");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream.set_write_timeout(Some(SOON)).expect("a timeout");
    stream
}

#[test]
fn random_datagrams_on_the_gossip_port() {
    let Some(lab) = lab!() else { return };
    let mut pair = Pair::start(&lab);
    let (mut random, socket) = (Random::new(1), stranger());
    const PACKETS: u64 = 20_000;
    for i in 0..PACKETS {
        let len = random.below(if i % 10 == 0 { 9000 } else { 1500 });
        let packet = random.bytes(len);
        // A full buffer of the kernel is a loss like any other.
        let _ = socket.send_to(&packet, pair.one.gossip());
        if i % 200 == 0 {
            // Answered by the task that reads them: most are read then.
            assert_eq!(pair.one.get("/v1/agent/self").status, 200);
        }
    }
    eventually("dropped datagrams are counted", SOON, || {
        pair.one.metric("drop_not_ours") > PACKETS / 2
    });
    pair.assert_untouched();
}

/// Real datagrams of the two agents, caught at the address of a third that was killed.
fn caught(lab: &Lab, pair: &Pair) -> Vec<Vec<u8>> {
    let mut three = lab.agent("agent-three", "127.0.0.12").arg("-join=127.0.0.10").start();
    let all = [BOTH[0], BOTH[1], ("agent-three", "alive")];
    pair.one.sees(&all, SOON);
    pair.two.sees(&all, SOON);
    three.kill();
    let socket = UdpSocket::bind(three.gossip()).expect("the address is free again");
    socket.set_read_timeout(Some(SOON)).expect("a timeout");
    let mut buf = [0; 65_536];
    let mut packets = Vec::new();
    let deadline = Instant::now() + SOON;
    while packets.len() < 3 && Instant::now() < deadline {
        if let Ok((n, _)) = socket.recv_from(&mut buf) {
            packets.push(buf[..n].to_vec());
        }
    }
    assert!(!packets.is_empty(), "nobody looks for agent-three");
    drop(socket);
    let gone = [BOTH[0], BOTH[1], ("agent-three", "failed")];
    pair.one.sees(&gone, SOON);
    pair.two.sees(&gone, SOON);
    assert_eq!(pair.one.run(&["force-leave", "-prune", "agent-three"]).code, Some(0));
    pair.one.sees(&BOTH, SOON);
    // Forgetting is local to the agent that was asked, or told to the others as well.
    let _ = pair.two.run(&["force-leave", "-prune", "agent-three"]);
    pair.two.sees(&BOTH, SOON);
    packets
}

#[test]
fn real_datagrams_with_damage_and_replays() {
    let Some(lab) = lab!() else { return };
    let pair = Pair::start(&lab);
    let packets = caught(&lab, &pair);
    let (mut random, socket) = (Random::new(2), stranger());
    let before = pair.one.metric("drop_checksum");
    for _ in 0..10_000 {
        let mut packet = packets[random.below(packets.len())].clone();
        match random.below(3) {
            0 => packet.truncate(random.below(packet.len())),
            1 => packet.extend(random.bytes(8)),
            _ => {
                let at = random.below(packet.len());
                packet[at] ^= 1 << random.below(8);
            }
        }
        let _ = socket.send_to(&packet, pair.one.gossip());
    }
    // As they were, from somebody else, long after: nothing new in them.
    for packet in packets.iter().cycle().take(1000) {
        let _ = socket.send_to(packet, pair.one.gossip());
    }
    eventually("damaged datagrams are counted", SOON, || {
        pair.one.metric("drop_checksum") > before + 100
    });
    for agent in [&pair.one, &pair.two] {
        let members = agent.members();
        let wrong = members.iter().any(|(name, status)| {
            // A replay may bring the killed one back into the list, as what it is.
            name != "agent-three" && status != "alive" || name == "agent-three" && status == "alive"
        });
        assert!(!wrong && members.len() >= 2, "{members:?}\n{}", agent.tail());
    }
}

#[test]
fn random_bytes_and_half_open_streams_on_the_gossip_port() {
    let Some(lab) = lab!() else { return };
    let mut pair = Pair::start(&lab);
    let to = pair.one.gossip();
    let mut random = Random::new(3);
    for _ in 0..200 {
        let mut stream = connect(to);
        let len = 1 + random.below(4096);
        let _ = stream.write_all(&random.bytes(len));
    }
    eventually("streams that say nonsense are counted", SOON, || {
        pair.one.metric("streams_dropped") + pair.one.metric("drop_not_ours") >= 100
    });
    pair.assert_untouched();

    // More than there is room for: some silent, some with a byte of nothing much.
    let mut open: Vec<TcpStream> = (0..400).map(|_| connect(to)).collect();
    for stream in open.iter_mut().step_by(2) {
        let _ = stream.write_all(&random.bytes(1));
    }
    eventually("streams beyond the limit are refused", SOON, || {
        pair.one.metric("io_streams_refused") + pair.one.metric("streams_dropped") > 200
    });
    pair.assert_untouched();

    // All of them end by themselves, and then there is room again.
    for stream in &mut open {
        let ended = match stream.read(&mut [0; 16]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(e) => !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        assert!(ended, "a stream that says nothing is closed");
    }
    let mut three = lab.agent("agent-three", "127.0.0.12").start();
    assert_eq!(three.run(&["join", "127.0.0.10"]).code, Some(0), "{}", pair.one.tail());
    three.interrupt();
    assert_eq!(three.process.wait(SOON), Some(0));
}

#[test]
fn http_bodies_without_end() {
    let Some(lab) = lab!() else { return };
    let mut pair = Pair::start(&lab);
    let put = "PUT /v1/agent/force-leave/nobody HTTP/1.1\r\nHost: x\r\n";
    let before = pair.one.metric("http_bodies_refused");
    let mut endless = connect(pair.one.http());
    let head = format!("{put}Transfer-Encoding: chunked\r\n\r\n");
    endless.write_all(head.as_bytes()).expect("the head goes out");
    let chunk = [b"10000\r\n".as_slice(), &vec![b'x'; 0x10000], b"\r\n"].concat();
    let mut sent = 0_usize;
    while sent < (256 << 20) && endless.write_all(&chunk).is_ok() {
        sent += chunk.len();
    }
    assert!(sent < (64 << 20), "{sent} bytes of a body were taken");

    // Announced and never sent: an answer comes all the same.
    let silent: Vec<TcpStream> = (0..50)
        .map(|i| {
            let mut stream = connect(pair.one.http());
            let length = if i % 2 == 0 { 1000 } else { 1_000_000_000_000_u64 };
            let head = format!("{put}Content-Length: {length}\r\n\r\nx");
            stream.write_all(head.as_bytes()).expect("the head goes out");
            stream
        })
        .collect();
    for stream in silent {
        let reply = http::read_reply(stream).expect("an answer");
        assert!(matches!(reply.status, 408 | 413), "{reply:?}");
    }
    let refused = pair.one.metric("http_bodies_refused");
    assert!(refused >= before + 51, "{before}, then {refused}");
    pair.assert_untouched();
}

/// Is the other end gone? Anything it still sends is read.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut buf = [0; 4096];
    loop {
        match stream.read(&mut buf) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => {
                return !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            }
        }
    }
}

#[test]
fn slow_http_clients() {
    let Some(lab) = lab!() else { return };
    let mut pair = Pair::start(&lab);
    let mut slow: Vec<TcpStream> = (0..200).map(|_| connect(pair.one.http())).collect();
    for stream in &mut slow {
        stream.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
    }
    // One byte of a head now and then, from all of them; others are served meanwhile.
    let head = b"GET /v1/agent/members HTTP/1.1\r\nX-Slow: yes\r\nX-Slower: yes, much";
    let start = Instant::now();
    let mut next = 0;
    while !slow.is_empty() {
        assert!(start.elapsed() < 2 * SOON, "{} slow clients are still served", slow.len());
        let byte = &head[next % head.len()..][..1];
        slow.retain_mut(|s| s.write_all(byte).is_ok() && !is_closed(s));
        let asked = Instant::now();
        assert_eq!(pair.one.get("/v1/agent/members").status, 200);
        assert!(asked.elapsed() < SOON, "others wait for {:?}", asked.elapsed());
        next += 1;
    }
    assert!(pair.one.metric("http_connections_broken") >= 100);

    // Asks without end and takes no answer.
    let mut greedy = connect(pair.one.http());
    greedy.set_write_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    let ask = b"GET /v1/agent/metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(64);
    let mut sent = 0_usize;
    while sent < (64 << 20) && greedy.write_all(&ask).is_ok() {
        sent += ask.len();
    }
    assert!(sent < (64 << 20), "{sent} bytes of questions were taken without an answer read");
    pair.assert_untouched();
}

#[test]
fn nonsense_over_http() {
    let Some(lab) = lab!() else { return };
    let mut pair = Pair::start(&lab);
    let mut random = Random::new(5);
    for i in 0..300 {
        let mut stream = connect(pair.one.http());
        let len = random.below(20_000);
        let bytes = match i % 3 {
            0 => random.bytes(len),
            1 => format!("GET /{} HTTP/1.1\r\n\r\n", "a/".repeat(len)).into_bytes(),
            _ => format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(len / 6)).into_bytes(),
        };
        let _ = stream.write_all(&bytes);
    }
    for path in ["/%zz", "/v1/agent/join/%ff%fe", "/v1/catalog/node/%00", "/v1/health/state/%"] {
        let status = pair.one.get(path).status;
        assert!((400..600).contains(&status) || status == 200, "{path}: {status}");
    }
    pair.assert_untouched();
}

#[test]
fn nonsense_over_dns() {
    let Some(lab) = lab!() else { return };
    let mut pair = Pair::start(&lab);
    let to = pair.one.dns();
    let (mut random, socket) = (Random::new(4), stranger());
    let good = dns::question("agent-two.node.consul.", RecordType::A, Some(1232));
    let good = good.to_vec().expect("a question");
    for i in 0..10_000 {
        let mut packet = good.clone();
        match i % 4 {
            0 => {
                let len = random.below(600);
                packet = random.bytes(len);
            }
            1 => {
                let at = random.below(packet.len());
                packet[at] = random.next() as u8;
            }
            2 => packet.truncate(random.below(packet.len())),
            // A name that points at itself.
            _ => packet.splice(12.., [0xc0, 0x0c, 0, 1, 0, 1]).for_each(drop),
        }
        let _ = socket.send_to(&packet, to);
        if i % 50 == 0 {
            let found = pair.one.dig("agent-two.node.consul.", RecordType::A);
            assert_eq!(found.answers(), ["agent-two.node.consul. 0 IN A 127.0.0.11"]);
        }
    }
    // Lengths without a question, and more connections than are served at once.
    let mut open: Vec<TcpStream> = (0..300).map(|_| connect(to)).collect();
    for (i, stream) in open.iter_mut().enumerate() {
        let start: &[u8] = if i % 2 == 0 { &[0xff, 0xff, 1] } else { &[0, 40, 0] };
        let _ = stream.write_all(start);
    }
    pair.assert_untouched();
    let question = dns::question("agent-two.node.consul.", RecordType::A, None);
    let dropped = ["dns_drop_not_queries", "dns_drop_malformed"].map(|c| pair.one.metric(c));
    assert!(dropped.iter().all(|n| *n > 0), "not counted: {dropped:?}");
    eventually("DNS over TCP is served again", SOON, || {
        dns::tcp(to, &question).is_ok_and(|a| a.answers().len() == 1)
    });
    pair.assert_untouched();
}
