//! DNS queries over both transports. No panic; a reply belongs to its query, is well formed, fits
//! its transport and is never a query itself; replies are never answered.
#![no_main]

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, Waker},
};

use hickory_proto::op::Message;
use libfuzzer_sys::fuzz_target;
use net_tokio::dns::{DnsConfig, Responder, Transport, Zone, reply_to_packet};
use quorate_fuzz::agent;

static RESPONDER: LazyLock<Arc<Responder>> = LazyLock::new(|| {
    let zone = Zone::new(&agent::info(), DnsConfig::default()).expect("a domain");
    Arc::new(Responder::new(agent::handle(), zone, 1))
});

fn ask(packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let from = SocketAddr::from(([10, 0, 0, 9], 4000));
    let mut reply = pin!(reply_to_packet(&RESPONDER, packet, from, transport));
    // Without recursors nothing is waited for.
    match reply.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(bytes) => bytes,
        Poll::Pending => panic!("a query of our own zone waits"),
    }
}

fuzz_target!(|data: &[u8]| {
    let udp = ask(data, Transport::Udp);
    let tcp = ask(data, Transport::Tcp);
    assert_eq!(udp.is_some(), tcp.is_some());
    for (reply, most) in [(udp, 1232), (tcp, 65_535)] {
        let Some(reply) = reply else { continue };
        assert!(data.len() >= 12 && data[2] & 0x80 == 0, "a reply to what is no query");
        assert!(reply.len() >= 12 && reply.len() <= most, "{} bytes", reply.len());
        assert_eq!(reply[..2], data[..2], "another id");
        assert!(reply[2] & 0x80 != 0, "a query for a reply");
        let m = Message::from_vec(&reply).expect("a reply that does not decode");
        assert!(m.edns.is_some() || reply.len() <= 512 || most > 1232, "too long without EDNS");
        let again = match most {
            1232 => ask(&reply, Transport::Udp),
            _ => ask(&reply, Transport::Tcp),
        };
        assert!(again.is_none(), "a reply is answered");
    }
});
