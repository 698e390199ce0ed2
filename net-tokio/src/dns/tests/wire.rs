//! Real packets: a server on loopback, recursors that misbehave, arbitrary bytes.

use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    time::timeout,
};

use super::*;

/// Far above what any of this takes, on any machine.
const SOON: Duration = Duration::from_secs(30);

struct Bench {
    server: DnsServer,
    udp: SocketAddr,
    tcp: SocketAddr,
    _parts: HandleParts,
}

async fn serve(config: DnsConfig, view: View) -> Bench {
    let (handle, parts) = agent(view);
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addrs = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let server = DnsServer::start(handle, config, vec![udp], vec![tcp]).unwrap();
    Bench { server, udp: addrs.0, tcp: addrs.1, _parts: parts }
}

fn query(name: &str, kind: RecordType, edns_bytes: Option<u16>) -> Message {
    let mut m = Message::new(4711, MessageType::Query, OpCode::Query);
    m.metadata.recursion_desired = true;
    m.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    if let Some(bytes) = edns_bytes {
        let mut edns = Edns::new();
        edns.set_max_payload(bytes);
        m.set_edns(edns);
    }
    m
}

async fn send_udp(to: SocketAddr, packet: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(packet, to).await.unwrap();
    let mut buf = vec![0; 65_535];
    let n = timeout(SOON, socket.recv(&mut buf)).await.unwrap().unwrap();
    buf.truncate(n);
    buf
}

async fn send_tcp(stream: &mut TcpStream, packet: &[u8]) -> Vec<u8> {
    stream.write_u16(packet.len() as u16).await.unwrap();
    stream.write_all(packet).await.unwrap();
    let n = timeout(SOON, stream.read_u16()).await.unwrap().unwrap();
    let mut buf = vec![0; usize::from(n)];
    timeout(SOON, stream.read_exact(&mut buf)).await.unwrap().unwrap();
    buf
}

async fn udp(to: SocketAddr, m: &Message) -> (Message, usize) {
    let bytes = send_udp(to, &m.to_vec().unwrap()).await;
    (Message::from_vec(&bytes).unwrap(), bytes.len())
}

#[tokio::test]
async fn both_transports_answer_with_the_right_flags() {
    let b = serve(DnsConfig::default(), view(members())).await;
    let q = query("Agent-TWO.node.consul.", RecordType::A, None);
    let (got, _) = udp(b.udp, &q).await;
    assert_eq!(got.metadata.id, 4711);
    assert_eq!(got.metadata.message_type, MessageType::Response);
    assert!(got.metadata.authoritative && got.metadata.recursion_desired);
    assert!(!got.metadata.recursion_available && !got.metadata.truncation);
    assert_eq!(lines(&got.answers), ["Agent-TWO.node.consul. 0 IN A 172.20.20.11"]);
    assert_eq!(got.queries[0].name().to_string(), "Agent-TWO.node.consul.");
    assert!(got.edns.is_none());
    // Several queries over one connection.
    let mut stream = TcpStream::connect(b.tcp).await.unwrap();
    for _ in 0..3 {
        let bytes = send_tcp(&mut stream, &q.to_vec().unwrap()).await;
        assert_eq!(Message::from_vec(&bytes).unwrap(), got);
    }
    let addrs = (b.udp, b.tcp);
    b.server.shutdown().await;
    UdpSocket::bind(addrs.0).await.expect("the UDP socket is closed");
    assert!(TcpStream::connect(addrs.1).await.is_err(), "still listening");
}

/// Found by fuzzing: the pointer went back with the question and meant something else there.
#[tokio::test]
async fn a_question_that_points_into_the_header_is_malformed() {
    let b = serve(DnsConfig::default(), view(members())).await;
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0xc0, 2, 0, 1, 0, 1];
    let reply = send_udp(b.udp, &packet).await;
    assert_eq!(reply, [0, 7, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0], "FORMERR and nothing else");
    // The same name written out.
    packet.splice(14..16, *b"\x06consul\x00");
    let reply = Message::from_vec(&send_udp(b.udp, &packet).await).unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn hickorys_own_server_carries_the_responder_too() {
    let (handle, _parts) = agent(view(members()));
    let zone = Zone::new(&handle.info, DnsConfig::default()).unwrap();
    let mut server = hickory_server::Server::new(Responder::new(handle, zone, 1));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    server.register_socket(socket);
    let (got, _) = udp(addr, &query("agent-one.node.consul.", RecordType::A, Some(4096))).await;
    assert_eq!(lines(&got.answers), ["agent-one.node.consul. 0 IN A 172.20.20.10"]);
    assert_eq!(got.edns.unwrap().max_payload(), 1232);
    server.shutdown_gracefully().await.unwrap();
}

#[tokio::test]
async fn replies_fit_their_transport() {
    let config = DnsConfig { udp_answer_limit: 200, ..DnsConfig::default() };
    let b = serve(config, many_servers(200)).await;
    let name = "consul.service.consul.";
    for (edns, limit) in
        [(None, 512), (Some(100), 512), (Some(900), 900), (Some(1232), 1232), (Some(65_535), 1232)]
    {
        for kind in [RecordType::A, RecordType::SRV] {
            let (got, n) = udp(b.udp, &query(name, kind, edns)).await;
            assert!(n <= limit, "{n} bytes for {edns:?}");
            assert!(got.metadata.truncation, "{kind} {edns:?}");
            assert!(n + 80 > limit, "only {n} bytes of {limit} used");
            let size = got.edns.map(|e| usize::from(e.max_payload()));
            assert_eq!(size, edns.map(|_| limit), "EDNS goes back with the size kept");
        }
    }
    let mut stream = TcpStream::connect(b.tcp).await.unwrap();
    let q = query(name, RecordType::SRV, None).to_vec().unwrap();
    let got = Message::from_vec(&send_tcp(&mut stream, &q).await).unwrap();
    assert_eq!((got.answers.len(), got.additionals.len()), (200, 200));
    assert!(!got.metadata.truncation);
}

#[tokio::test]
async fn additionals_go_before_answers_and_silently() {
    let b = serve(DnsConfig::default(), many_servers(20)).await;
    let q = query("consul.service.consul.", RecordType::SRV, Some(1232));
    let (got, n) = udp(b.udp, &q).await;
    assert_eq!((got.answers.len(), got.metadata.truncation), (20, false), "{n} bytes");
    assert!(got.additionals.len() < 20);
    // 480 bytes of meta do not fit beside an address in 512.
    let mut all = members();
    let value = "v".repeat(475);
    Arc::make_mut(&mut all[1].record).meta = Pairs::new([("k", value.as_str())]).unwrap();
    let b = serve(DnsConfig::default(), view(all)).await;
    let (got, _) = udp(b.udp, &query("agent-two.node.consul.", RecordType::A, None)).await;
    assert_eq!((got.answers.len(), got.additionals.len()), (1, 0));
    assert!(!got.metadata.truncation);
    let (got, _) = udp(b.udp, &query("agent-two.node.consul.", RecordType::TXT, None)).await;
    assert_eq!((got.answers.len(), got.metadata.truncation), (0, true));
}

#[tokio::test]
async fn odd_queries_get_the_code_they_deserve() {
    let b = serve(DnsConfig::default(), view(members())).await;
    let base = query("agent-one.node.consul.", RecordType::A, None);
    let code = |m: Message| async move { udp(b.udp, &m).await.0.metadata.response_code };
    for op in [OpCode::Update, OpCode::Notify, OpCode::Status] {
        let mut m = base.clone();
        m.metadata.op_code = op;
        assert_eq!(code(m).await, ResponseCode::NotImp, "{op:?}");
    }
    let mut m = base.clone();
    m.queries.clear();
    assert_eq!(code(m).await, ResponseCode::FormErr);
    let mut m = base.clone();
    m.add_query(base.queries[0].clone());
    assert_eq!(code(m).await, ResponseCode::FormErr);
    let mut m = query("agent-one.node.consul.", RecordType::A, Some(1232));
    m.edns.as_mut().unwrap().set_version(1);
    assert_eq!(u16::from(code(m).await), 16, "BADVERS");
    assert_eq!(code(query("consul.", RecordType::AXFR, None)).await, ResponseCode::Refused);
    // Cut off in the question: FORMERR with the id. A reply, and a stub: nothing at all.
    let bytes = base.to_vec().unwrap();
    let got = Message::from_vec(&send_udp(b.udp, &bytes[..20]).await).unwrap();
    assert_eq!((got.metadata.id, got.metadata.response_code), (4711, ResponseCode::FormErr));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut looped = bytes.clone();
    looped[2] |= 0x80;
    socket.send_to(&looped, b.udp).await.unwrap();
    socket.send_to(&bytes[..11], b.udp).await.unwrap();
    let mut marked = bytes;
    marked[..2].copy_from_slice(&[7, 7]);
    socket.send_to(&marked, b.udp).await.unwrap();
    let mut buf = [0; 512];
    timeout(SOON, socket.recv(&mut buf)).await.unwrap().unwrap();
    assert_eq!(buf[..2], [7, 7], "something else was answered first");
}

/// An upstream that answers every query with 192.0.2.`n`, after two forged replies.
async fn upstream(n: u8, truncate: bool) -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = tcp.local_addr().unwrap();
    let socket = UdpSocket::bind(addr).await.unwrap();
    let reply = move |packet: &[u8]| {
        let mut m = Message::from_vec(packet).unwrap().into_response();
        let name = m.queries[0].name().clone();
        let data = hickory_proto::rr::RData::A(std::net::Ipv4Addr::new(192, 0, 2, n).into());
        m.add_answer(Record::from_rdata(name, 60, data));
        m
    };
    tokio::spawn(async move {
        let mut buf = [0; 512];
        while let Ok((len, from)) = socket.recv_from(&mut buf).await {
            let good = reply(&buf[..len]);
            let mut wrong_id = good.clone();
            wrong_id.metadata.id ^= 1;
            wrong_id.answers.clear();
            let mut wrong_name = good.clone();
            wrong_name.queries[0].set_name(Name::from_ascii("evil.example.").unwrap());
            let mut last = good.clone();
            if truncate {
                last.answers.clear();
                last.metadata.truncation = true;
            }
            for m in [wrong_id, wrong_name, last] {
                let _ = socket.send_to(&m.to_vec().unwrap(), from).await;
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let len = stream.read_u16().await.unwrap();
            let mut packet = vec![0; usize::from(len)];
            stream.read_exact(&mut packet).await.unwrap();
            let bytes = reply(&packet).to_vec().unwrap();
            stream.write_u16(bytes.len() as u16).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        }
    });
    addr
}

fn recursing(recursors: Vec<SocketAddr>) -> DnsConfig {
    let recursor_timeout = Duration::from_millis(300);
    DnsConfig { recursors, recursor_timeout, ..DnsConfig::default() }
}

#[tokio::test]
async fn recursors_are_asked_in_order_and_checked() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    // One that hears another address only: to the rest its port is closed, and nobody takes it.
    let deaf = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    deaf.connect("127.0.0.1:1").await.unwrap();
    let closed = deaf.local_addr().unwrap();
    let (first, second) = (upstream(1, false).await, upstream(2, false).await);
    let order = vec![closed, silent.local_addr().unwrap(), first, second];
    let b = serve(recursing(order), view(members())).await;
    let q = query("example.com.", RecordType::A, None);
    let (got, _) = udp(b.udp, &q).await;
    assert_eq!(lines(&got.answers), ["example.com. 60 IN A 192.0.2.1"]);
    assert_eq!(got.metadata.id, 4711);
    assert!(got.metadata.recursion_available && !got.metadata.authoritative);
    let mut stream = TcpStream::connect(b.tcp).await.unwrap();
    let bytes = send_tcp(&mut stream, &q.to_vec().unwrap()).await;
    assert_eq!(Message::from_vec(&bytes).unwrap().answers.len(), 1);
    // Our own names stay here, and say that recursion is there.
    let (got, _) = udp(b.udp, &query("nobody.node.consul.", RecordType::A, None)).await;
    assert_eq!(got.metadata.response_code, ResponseCode::NXDomain);
    assert!(got.metadata.recursion_available && got.metadata.authoritative);
}

#[tokio::test]
async fn a_truncated_recursor_is_asked_over_tcp() {
    let b = serve(recursing(vec![upstream(3, true).await]), view(members())).await;
    let (got, _) = udp(b.udp, &query("example.com.", RecordType::A, Some(1232))).await;
    assert_eq!(lines(&got.answers), ["example.com. 60 IN A 192.0.2.3"]);
    assert!(!got.metadata.truncation && got.edns.is_some());
}

#[tokio::test]
async fn waiting_queries_are_bounded_and_hold_nobody_up() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let config = DnsConfig {
        recursors: vec![silent.local_addr().unwrap()],
        recursor_timeout: SOON * 2,
        ..DnsConfig::default()
    };
    let b = serve(config, view(members())).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let outside = query("example.com.", RecordType::A, None).to_vec().unwrap();
    let mut buf = [0; 512];
    for sent in 0.. {
        assert!(sent <= MAX_FORWARDS, "no bound");
        client.send_to(&outside, b.udp).await.unwrap();
        // An answer from the view, behind it in the same queue, tells that it was taken in.
        let mut own = query("agent-one.node.consul.", RecordType::A, None);
        own.metadata.id = 1;
        client.send_to(&own.to_vec().unwrap(), b.udp).await.unwrap();
        let n = timeout(SOON, client.recv(&mut buf)).await.unwrap().unwrap();
        let got = Message::from_vec(&buf[..n]).unwrap();
        if got.metadata.id != 1 {
            assert_eq!(got.metadata.response_code, ResponseCode::ServFail);
            assert_eq!(sent, MAX_FORWARDS);
            break;
        }
    }
}

#[tokio::test]
async fn a_server_is_not_its_own_recursor() {
    let (handle, _parts) = agent(view(members()));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let own = socket.local_addr().unwrap();
    let started = DnsServer::start(handle, recursing(vec![own]), vec![socket], Vec::new());
    assert!(matches!(started, Err(DnsError::OwnRecursor(a)) if a == own));
}

#[tokio::test]
async fn half_sent_and_oversized_queries_close_only_their_connection() {
    let b = serve(DnsConfig::default(), view(members())).await;
    let mut half = TcpStream::connect(b.tcp).await.unwrap();
    half.write_all(&[0, 40, 1, 2]).await.unwrap();
    let mut huge = TcpStream::connect(b.tcp).await.unwrap();
    huge.write_all(&[0xff, 0xff, 0]).await.unwrap();
    let mut buf = [0; 1];
    let closed = timeout(SOON, huge.read(&mut buf)).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)));
    let mut good = TcpStream::connect(b.tcp).await.unwrap();
    let q = query("agent-one.node.consul.", RecordType::A, None).to_vec().unwrap();
    assert!(!send_tcp(&mut good, &q).await.is_empty());
    let closed = timeout(SOON, half.read(&mut buf)).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)), "an idle connection is closed");
}

proptest! {
    /// Arbitrary bytes, alone and over a good query: nothing, or a reply with the id and QR.
    #[test]
    fn arbitrary_bytes_never_panic(
        noise in proptest::collection::vec(any::<u8>(), 0..600),
        at in 0_usize..80,
        edns in proptest::option::of(any::<u16>()),
        mix in any::<bool>(),
    ) {
        let mut packet = noise.clone();
        if mix {
            packet = query("agent-two.node.consul.", RecordType::ANY, edns).to_vec().unwrap();
            for (slot, byte) in packet.iter_mut().skip(at).zip(noise.iter().take(3)) {
                *slot = *byte;
            }
        }
        let (handle, _parts) = agent(view(members()));
        let zone = Zone::new(&handle.info, DnsConfig::default()).unwrap();
        let responder = Arc::new(Responder::new(handle, zone, 1));
        if let Some(reply) = crate::dns::server::reply_now(&responder, &packet) {
            prop_assert!(reply.len() >= 12 && reply.len() <= 1232);
            prop_assert_eq!(&reply[..2], &packet[..2]);
            prop_assert_eq!(reply[2] & 0x80, 0x80);
            prop_assert!(packet[2] & 0x80 == 0, "a reply was answered");
            prop_assert!(Message::from_vec(&reply).is_ok());
        }
    }
}
