//! DNS questions over UDP and TCP, and answers as lines of text.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, Record, RecordType},
};

/// A recursor may take two seconds; a noisy machine longer.
const TIMEOUT: Duration = Duration::from_secs(20);
const ID: u16 = 4711;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The whole message.
    pub message: Message,
    /// Bytes on the wire.
    pub bytes: usize,
}

impl Answer {
    /// The response code.
    pub fn code(&self) -> ResponseCode {
        self.message.metadata.response_code
    }

    /// The flags that are set, in `dig`'s spelling.
    pub fn flags(&self) -> String {
        let m = &self.message.metadata;
        let flags = [
            (m.message_type == MessageType::Response, "qr"),
            (m.authoritative, "aa"),
            (m.truncation, "tc"),
            (m.recursion_desired, "rd"),
            (m.recursion_available, "ra"),
        ];
        let set: Vec<&str> = flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        set.join(" ")
    }

    /// The records of the answer section, one text each: `name ttl class type data`.
    pub fn answers(&self) -> Vec<String> {
        self.message.answers.iter().map(show).collect()
    }

    /// The records of the authority section.
    pub fn authorities(&self) -> Vec<String> {
        self.message.authorities.iter().map(show).collect()
    }

    /// The records of the additional section (without EDNS).
    pub fn additionals(&self) -> Vec<String> {
        self.message.additionals.iter().map(show).collect()
    }

    /// `CODE flags`, then a line per record: `ANSWER ...`, `AUTHORITY ...`, `ADDITIONAL ...`.
    pub fn dump(&self) -> String {
        let mut out = format!("{:?} {}\n", self.code(), self.flags());
        let sections = [
            ("ANSWER", self.answers()),
            ("AUTHORITY", self.authorities()),
            ("ADDITIONAL", self.additionals()),
        ];
        for (name, lines) in sections {
            for line in lines {
                out.push_str(&format!("{name} {line}\n"));
            }
        }
        out
    }
}

/// The serial of an SOA is the time: shown as `<unixtime>` if it is plausible.
fn show(r: &Record) -> String {
    let text = r.to_string();
    if r.record_type() != RecordType::SOA {
        return text;
    }
    let words = text.split(' ').map(|w| match w.parse::<u64>() {
        Ok(n) if n > 1_500_000_000 => "<unixtime>".to_owned(),
        _ => w.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A question with RD set; `edns`: the payload size to announce.
///
/// # Panics
/// If `name` cannot be one in DNS.
pub fn question(name: &str, kind: RecordType, edns: Option<u16>) -> Message {
    let mut m = Message::new(ID, MessageType::Query, OpCode::Query);
    m.metadata.recursion_desired = true;
    m.add_query(Query::query(Name::from_ascii(name).expect("a DNS name"), kind));
    if let Some(bytes) = edns {
        let mut edns = Edns::new();
        edns.set_max_payload(bytes);
        m.set_edns(edns);
    }
    m
}

/// Asks over UDP. A datagram that is lost on the way is sent again.
///
/// # Errors
/// The system's; `InvalidData` for an answer that is none.
pub fn udp(to: SocketAddr, m: &Message) -> io::Result<Answer> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => [0, 0, 0, 0].into(),
        SocketAddr::V6(_) => [0_u16; 8].into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(TIMEOUT / 4))?;
    let packet = m.to_vec().map_err(io::Error::other)?;
    let mut buf = vec![0; 65_535];
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for _ in 0..4 {
        socket.send(&packet)?;
        match socket.recv(&mut buf) {
            Ok(n) => return decode(&buf[..n]),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                last = e;
            }
            Err(e) => return Err(e),
        }
    }
    Err(last)
}

/// Asks over TCP.
///
/// # Errors
/// As [`udp`].
pub fn tcp(to: SocketAddr, m: &Message) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&to, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let packet = m.to_vec().map_err(io::Error::other)?;
    let len = u16::try_from(packet.len()).map_err(io::Error::other)?;
    stream.write_all(&[&len.to_be_bytes()[..], &packet].concat())?;
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut buf = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut buf)?;
    decode(&buf)
}

fn decode(bytes: &[u8]) -> io::Result<Answer> {
    let invalid = |e: String| io::Error::new(io::ErrorKind::InvalidData, e);
    let message = Message::from_vec(bytes).map_err(|e| invalid(e.to_string()))?;
    if message.metadata.id != ID {
        return Err(invalid(format!("the id is {}", message.metadata.id)));
    }
    Ok(Answer { message, bytes: bytes.len() })
}

/// `4.3.2.1.in-addr.arpa.`
pub fn reverse_name(ip: std::net::Ipv4Addr) -> String {
    let [a, b, c, d] = ip.octets();
    format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
}
