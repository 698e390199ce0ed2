//! DNS answers, row for row of the reference: flags, sections, owner names, TTLs.

use std::time::Duration;

use hickory_proto::{
    op::{OpCode, ResponseCode},
    rr::RecordType::{self, A, AAAA, ANY, AXFR, CNAME, MX, NS, PTR, SOA, SRV, TXT},
};
use insta::assert_snapshot;
use quorate_tests::{Agent, Lab, dns, lab};

const SOON: Duration = Duration::from_secs(20);
const AUTHORITY: &str =
    "AUTHORITY consul. 0 IN SOA ns.consul. hostmaster.consul. <unixtime> 3600 600 86400 0\n";

fn pair(lab: &Lab) -> (Agent, Agent) {
    let one = lab.agent("agent-one", "127.0.0.10").server().start();
    let two = lab.agent("agent-two", "127.0.0.11").arg("-join=127.0.0.10");
    let two = two.arg("-node-meta=rack:7").start();
    for agent in [&one, &two] {
        agent.sees(&[("agent-one", "alive"), ("agent-two", "alive")], SOON);
    }
    (one, two)
}

fn dump(agent: &Agent, name: &str, kind: RecordType) -> String {
    let question = dns::question(name, kind, None);
    let udp = dns::udp(agent.dns(), &question).expect("an answer over UDP").dump();
    let tcp = dns::tcp(agent.dns(), &question).expect("an answer over TCP").dump();
    assert_eq!(udp, tcp, "{name} {kind}");
    udp
}

#[test]
fn names_of_nodes() {
    let Some(lab) = lab!() else { return };
    let (one, _two) = pair(&lab);
    assert_snapshot!(dump(&one, "agent-two.node.consul.", A), @r"
    NoError qr aa rd
    ANSWER agent-two.node.consul. 0 IN A 127.0.0.11
    ADDITIONAL agent-two.node.consul. 0 IN TXT rack=7
    ");
    assert_snapshot!(dump(&one, "agent-one.node.dc1.consul.", A), @r"
    NoError qr aa rd
    ANSWER agent-one.node.dc1.consul. 0 IN A 127.0.0.10
    ");
    assert_snapshot!(dump(&one, "Agent-TWO.node.Consul.", ANY), @r"
    NoError qr aa rd
    ANSWER Agent-TWO.node.Consul. 0 IN A 127.0.0.11
    ANSWER Agent-TWO.node.Consul. 0 IN TXT rack=7
    ");
    assert_snapshot!(dump(&one, "agent-two.node.consul.", TXT), @r"
    NoError qr aa rd
    ANSWER agent-two.node.consul. 0 IN TXT rack=7
    ");
    for kind in [AAAA, MX, SRV, CNAME] {
        let got = dump(&one, "agent-two.node.consul.", kind);
        assert_eq!(got, format!("NoError qr aa rd\n{AUTHORITY}"), "{kind}");
    }
}

#[test]
fn names_that_are_not_there() {
    let Some(lab) = lab!() else { return };
    let (one, two) = pair(&lab);
    for name in [
        "nobody.node.consul.",
        "nobody.node.dc1.consul.",
        "agent-two.node.dc2.consul.",
        "agent-two.node.dc1.more.consul.",
        "node.consul.",
        "consul.",
        "agent-two.unknown.consul.",
        "nothing.service.consul.",
        "xyz.addr.consul.",
    ] {
        for agent in [&one, &two] {
            let got = dump(agent, name, A);
            assert_eq!(got, format!("NXDomain qr aa rd\n{AUTHORITY}"), "{name}");
        }
    }
}

#[test]
fn the_domain_itself_and_its_servers() {
    let Some(lab) = lab!() else { return };
    let (_one, two) = pair(&lab);
    assert_snapshot!(dump(&two, "consul.", SOA), @r"
    NoError qr aa rd
    ANSWER consul. 0 IN SOA ns.consul. hostmaster.consul. <unixtime> 3600 600 86400 0
    AUTHORITY consul. 0 IN NS agent-one.node.dc1.consul.
    ADDITIONAL agent-one.node.dc1.consul. 0 IN A 127.0.0.10
    ");
    assert_snapshot!(dump(&two, "consul.", NS), @r"
    NoError qr aa rd
    ANSWER consul. 0 IN NS agent-one.node.dc1.consul.
    ADDITIONAL agent-one.node.dc1.consul. 0 IN A 127.0.0.10
    ");
    assert_snapshot!(dump(&two, "consul.service.consul.", A), @r"
    NoError qr aa rd
    ANSWER consul.service.consul. 0 IN A 127.0.0.10
    ");
    assert_snapshot!(dump(&two, "consul.service.dc1.consul.", SRV), @r"
    NoError qr aa rd
    ANSWER consul.service.dc1.consul. 0 IN SRV 1 1 8300 agent-one.node.dc1.consul.
    ADDITIONAL agent-one.node.dc1.consul. 0 IN A 127.0.0.10
    ");
}

#[test]
fn addresses_and_their_names() {
    let Some(lab) = lab!() else { return };
    let (one, _two) = pair(&lab);
    assert_snapshot!(dump(&one, "7f00000b.addr.consul.", A), @r"
    NoError qr aa rd
    ANSWER 7f00000b.addr.consul. 0 IN A 127.0.0.11
    ");
    assert_snapshot!(dump(&one, "fd000000000000000000000000000003.addr.dc1.consul.", AAAA), @r"
    NoError qr aa rd
    ANSWER fd000000000000000000000000000003.addr.dc1.consul. 0 IN AAAA fd00::3
    ");
    assert_snapshot!(dump(&one, "11.0.0.127.in-addr.arpa.", PTR), @r"
    NoError qr aa rd
    ANSWER 11.0.0.127.in-addr.arpa. 0 IN PTR agent-two.node.dc1.consul.
    ");
}

#[test]
fn what_is_not_ours() {
    let Some(lab) = lab!() else { return };
    let (one, _two) = pair(&lab);
    for name in ["example.com.", ".", "notconsul.", "99.0.0.127.in-addr.arpa."] {
        let got = one.dig(name, if name.ends_with("arpa.") { PTR } else { A });
        assert_eq!((got.code(), got.flags().as_str()), (ResponseCode::Refused, "qr rd"), "{name}");
    }
    let mut update = dns::question("consul.", SOA, None);
    update.metadata.op_code = OpCode::Update;
    let got = dns::udp(one.dns(), &update).expect("an answer");
    assert_eq!(got.code(), ResponseCode::NotImp);
    let transfer = dns::question("consul.", AXFR, None);
    let got = dns::tcp(one.dns(), &transfer).expect("an answer");
    assert_eq!((got.code(), got.answers().len()), (ResponseCode::Refused, 0));
}

#[test]
fn recursors_and_other_domains() {
    let Some(lab) = lab!() else { return };
    let far = lab.agent("far", "127.0.0.12").arg("-domain=example.org.").start();
    let near = lab.agent("near", "127.0.0.13").arg("-alt-domain=alt.test");
    // The first recursor is silent: the next one is asked in its place.
    let silent = std::net::UdpSocket::bind("127.0.0.14:53530").expect("a free address");
    let near = near.arg("-recursor=127.0.0.14:53530").arg("-recursor=127.0.0.12:8600").start();
    let got = near.dig("far.node.example.org.", A);
    assert_eq!(got.answers(), ["far.node.example.org. 0 IN A 127.0.0.12"], "{}", got.dump());
    assert!(got.flags().contains("ra"), "{}", got.flags());
    assert_eq!(near.dig("near.node.consul.", A).flags(), "qr aa rd ra");
    let alt = near.dig("near.node.alt.test.", A);
    assert_eq!(alt.answers(), ["near.node.alt.test. 0 IN A 127.0.0.13"]);
    assert_eq!(far.dig("far.node.consul.", A).code(), ResponseCode::Refused);
    drop(silent);
}

#[test]
fn sizes_of_answers() {
    let Some(lab) = lab!() else { return };
    let mut spec = lab.agent("agent-one", "127.0.0.10");
    for i in 0..40 {
        spec = spec.arg(format!("-node-meta=key-{i:02}:abcd"));
    }
    let one = spec.start();
    let name = "agent-one.node.consul.";
    let plain = dns::udp(one.dns(), &dns::question(name, TXT, None)).expect("an answer");
    assert!(plain.bytes <= 512, "{} bytes without EDNS", plain.bytes);
    assert!(plain.flags().contains("tc"), "{}", plain.flags());
    assert!(plain.message.edns.is_none());
    let edns = dns::udp(one.dns(), &dns::question(name, TXT, Some(1232))).expect("an answer");
    assert!(edns.bytes > 512 && edns.bytes <= 1232, "{} bytes with EDNS", edns.bytes);
    assert!(edns.message.edns.is_some(), "EDNS is echoed");
    let tcp = dns::tcp(one.dns(), &dns::question(name, TXT, None)).expect("an answer");
    assert_eq!((tcp.answers().len(), tcp.flags().contains("tc")), (40, false));
}

#[test]
fn names_that_are_no_host_names_are_told_at_the_start() {
    let Some(lab) = lab!() else { return };
    let agent = lab.agent("under_score", "127.0.0.10").start();
    let line = agent.line("'under_score'", SOON);
    assert!(
        line.text.contains("[WARN]") && line.text.contains("no valid host name"),
        "{}",
        line.text
    );
    let plain = lab.agent("agent-two", "127.0.0.11").start();
    assert!(plain.process.lines_with("[WARN]").is_empty(), "{}", plain.tail());
}
