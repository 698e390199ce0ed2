//! A view made by hand, and a table of questions and answers about it.

mod wire;

use std::{net::SocketAddr, sync::Arc};

use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, Record, RecordType},
};
use quorate_core::{Label, Name as NodeName, NodeId, Pairs, Record as NodeRecord, Role};

use super::*;
use crate::{
    handle::{AgentHandle, HandleParts},
    view::{AgentInfo, Member, Status, View},
};

const SERVER: Role = Role::Server { port: 8300, expect: 1, bootstrap: false };
const SOA: &str = "consul. 0 IN SOA ns.consul. hostmaster.consul. 77 3600 600 86400 0";

fn member(n: u8, name: &str, addr: &str, role: Role, status: Status) -> Member {
    Member {
        record: Arc::new(NodeRecord {
            role,
            ..NodeRecord::of_client(
                NodeId::from_random([n; 16]),
                NodeName::new(name).unwrap(),
                SocketAddr::new(addr.parse().unwrap(), 8301),
            )
        }),
        status,
        suspect: false,
        create_index: 1,
        modify_index: 1,
    }
}

fn members() -> Vec<Member> {
    let mut all = vec![
        member(1, "agent-one", "172.20.20.10", SERVER, Status::Alive),
        member(2, "agent-two", "172.20.20.11", Role::Client, Status::Alive),
        member(3, "web.eu.Example", "fd00::3", Role::Client, Status::Alive),
        member(4, "gone", "172.20.20.14", Role::Client, Status::Left),
        member(5, "dead", "172.20.20.15", Role::Client, Status::Failed),
        member(6, "going", "172.20.20.16", Role::Client, Status::Leaving),
        member(7, "old-server", "172.20.20.17", SERVER, Status::Failed),
        member(8, "bad..name", "172.20.20.18", Role::Client, Status::Alive),
    ];
    let record = Arc::make_mut(&mut all[1].record);
    record.meta = Pairs::new([("rack", "7"), ("rfc1035-note", "bare")]).unwrap();
    all
}

fn view(members: Vec<Member>) -> View {
    View::new(9, NodeId::from_random([1; 16]), Label::new("dc1").unwrap(), members)
}

fn many_servers(n: u8) -> View {
    let server =
        |i| member(i, &format!("server-{i:02}"), &format!("10.0.0.{i}"), SERVER, Status::Alive);
    view((1..=n).map(server).collect())
}

fn info() -> AgentInfo {
    AgentInfo {
        encrypted: false,
        version: "0.1.0".into(),
        revision: String::new(),
        name: NodeName::new("agent-one").unwrap(),
        id: NodeId::from_random([1; 16]),
        label: Label::new("dc1").unwrap(),
        role: SERVER,
        advertise: ([172, 20, 20, 10], 8301).into(),
        domain: "consul.".into(),
        alt_domain: Some("alt.example".into()),
        dns_addrs: Vec::new(),
        http_addrs: Vec::new(),
    }
}

fn agent(view: View) -> (AgentHandle, HandleParts) {
    AgentHandle::new(info(), view)
}

const UDP: Context = Context { transport: Transport::Udp, edns: false, now_unix_s: 77, seed: 1 };

fn ask(zone: &Zone, view: &View, name: &str, kind: RecordType, cx: Context) -> Outcome {
    let raw = || Name::from_labels(name.trim_end_matches('.').split('.').map(str::as_bytes));
    let name = Name::from_ascii(name).or_else(|_| raw()).unwrap();
    answer(zone, view, Question { name: &name, kind, class: DNSClass::IN }, cx)
}

fn reply(config: DnsConfig, view: &View, name: &str, kind: RecordType, cx: Context) -> Answer {
    match ask(&Zone::new(&info(), config).unwrap(), view, name, kind, cx) {
        Outcome::Reply(reply) => reply,
        Outcome::Forward => panic!("{name} {kind} was to be forwarded"),
    }
}

fn lines(records: &[Record]) -> Vec<String> {
    records.iter().map(ToString::to_string).collect()
}

/// `RCODE | answers | authorities | additionals`, records with commas between.
fn shown(a: &Answer) -> String {
    let sections = [&a.answers, &a.authorities, &a.additionals].map(|s| lines(s).join(", "));
    format!("{:?} | {}", a.code, sections.join(" | "))
}

#[test]
fn every_row_about_nodes() {
    use RecordType::{A, AAAA, ANY, CNAME, MX, SRV, TXT};
    let two_a = "agent-two.node.consul. 0 IN A 172.20.20.11";
    let two_txt = "agent-two.node.consul. 0 IN TXT rack=7, agent-two.node.consul. 0 IN TXT bare";
    let none = format!("NoError |  | {SOA} | ");
    let nx = format!("NXDomain |  | {SOA} | ");
    let glue = "agent-one.node.dc1.consul. 0 IN A 172.20.20.10";
    let table = [
        ("agent-two.node.consul.", A, format!("NoError | {two_a} |  | {two_txt}")),
        ("agent-two.node.consul.", AAAA, none.clone()),
        ("agent-two.node.consul.", ANY, format!("NoError | {two_a}, {two_txt} |  | ")),
        ("agent-two.node.consul.", TXT, format!("NoError | {two_txt} |  | ")),
        ("agent-two.node.consul.", MX, none.clone()),
        ("agent-two.node.consul.", SRV, none.clone()),
        ("agent-two.node.consul.", CNAME, none.clone()),
        ("agent-one.node.dc1.consul.", A, format!("NoError | {glue} |  | ")),
        (
            "AGENT-One.Node.DC1.Consul.",
            A,
            "NoError | AGENT-One.Node.DC1.Consul. 0 IN A 172.20.20.10 |  | ".into(),
        ),
        (
            "web.eu.example.node.consul.",
            AAAA,
            "NoError | web.eu.example.node.consul. 0 IN AAAA fd00::3 |  | ".into(),
        ),
        ("web.eu.example.node.consul.", A, none.clone()),
        ("gone.node.consul.", A, nx.clone()),
        ("dead.node.consul.", A, "NoError | dead.node.consul. 0 IN A 172.20.20.15 |  | ".into()),
        ("going.node.consul.", A, "NoError | going.node.consul. 0 IN A 172.20.20.16 |  | ".into()),
        ("nobody.node.consul.", A, nx.clone()),
        ("agent-two.node.dc2.consul.", A, nx.clone()),
        ("agent-two.node.dc1.more.consul.", A, nx.clone()),
        ("node.consul.", A, nx.clone()),
        ("agent\\.two.node.consul.", A, nx.clone()),
    ];
    assert_rows(table);
}

fn assert_rows<const N: usize>(table: [(&str, RecordType, String); N]) {
    let v = view(members());
    for (name, kind, want) in table {
        let got = reply(DnsConfig::default(), &v, name, kind, UDP);
        assert_eq!(shown(&got), want, "{name} {kind}");
        assert!(got.authoritative, "{name} {kind}");
    }
}

#[test]
fn every_row_about_the_domain_services_and_addresses() {
    use RecordType::{A, AAAA, NS, SRV};
    let none = format!("NoError |  | {SOA} | ");
    let nx = format!("NXDomain |  | {SOA} | ");
    let glue = "agent-one.node.dc1.consul. 0 IN A 172.20.20.10";
    let srv = "1 1 8300 agent-one.node.dc1.consul.";
    let table = [
        ("consul.", A, nx.clone()),
        ("agent-two.thing.consul.", A, nx.clone()),
        ("web.service.consul.", A, nx.clone()),
        ("v1.web.service.dc1.consul.", SRV, nx.clone()),
        (
            "consul.",
            RecordType::SOA,
            format!("NoError | {SOA} | consul. 0 IN NS agent-one.node.dc1.consul. | {glue}"),
        ),
        (
            "consul.",
            NS,
            format!("NoError | consul. 0 IN NS agent-one.node.dc1.consul. |  | {glue}"),
        ),
        (
            "consul.service.consul.",
            A,
            "NoError | consul.service.consul. 0 IN A 172.20.20.10 |  | ".into(),
        ),
        ("consul.service.dc1.consul.", AAAA, none.clone()),
        ("consul.service.dc2.consul.", A, nx.clone()),
        (
            "consul.service.consul.",
            SRV,
            format!("NoError | consul.service.consul. 0 IN SRV {srv} |  | {glue}"),
        ),
        (
            "_consul._tcp.service.consul.",
            SRV,
            format!("NoError | _consul._tcp.service.consul. 0 IN SRV {srv} |  | {glue}"),
        ),
        (
            "7f00000b.addr.consul.",
            A,
            "NoError | 7f00000b.addr.consul. 0 IN A 127.0.0.11 |  | ".into(),
        ),
        (
            "7F00000B.addr.dc1.consul.",
            A,
            "NoError | 7F00000B.addr.dc1.consul. 0 IN A 127.0.0.11 |  | ".into(),
        ),
        (
            "7f00000b.addr.consul.",
            AAAA,
            format!("NoError |  | {SOA} | 7f00000b.addr.consul. 0 IN A 127.0.0.11"),
        ),
        (
            "fd000000000000000000000000000003.addr.consul.",
            AAAA,
            "NoError | fd000000000000000000000000000003.addr.consul. 0 IN AAAA fd00::3 |  | "
                .into(),
        ),
        ("7f00000.addr.consul.", A, nx.clone()),
        ("+f00000b.addr.consul.", A, nx.clone()),
        ("1.7f00000b.addr.consul.", A, nx.clone()),
    ];
    assert_rows(table);
}

#[test]
fn reverse_lookups_name_who_has_not_left() {
    use RecordType::{A, PTR};
    let v = view(members());
    let six = "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.D.f.ip6.arpa.";
    let found = [
        ("11.20.20.172.in-addr.arpa.", "agent-two.node.dc1.consul."),
        ("15.20.20.172.IN-ADDR.arpa.", "dead.node.dc1.consul."),
        (six, "web.eu.Example.node.dc1.consul."),
    ];
    for (name, target) in found {
        let got = reply(DnsConfig::default(), &v, name, PTR, UDP);
        let want = format!("NoError | {name} 0 IN PTR {target} |  | ");
        assert_eq!(shown(&got), want);
        assert!(got.authoritative);
    }
    // Unknown, left, not expressible, not a whole address, not an address, another type.
    let refused = [
        ("99.20.20.172.in-addr.arpa.", PTR),
        ("14.20.20.172.in-addr.arpa.", PTR),
        ("18.20.20.172.in-addr.arpa.", PTR),
        ("20.20.172.in-addr.arpa.", PTR),
        ("+1.20.20.172.in-addr.arpa.", PTR),
        ("11.20.20.172.in-addr.arpa.", A),
    ];
    for (name, kind) in refused {
        let got = reply(DnsConfig::default(), &v, name, kind, UDP);
        assert_eq!(shown(&got), "Refused |  |  | ", "{name}");
        assert!(!got.authoritative, "{name}");
    }
}

#[test]
fn outside_of_the_domain_is_refused_or_forwarded() {
    let v = view(members());
    let got = reply(DnsConfig::default(), &v, "example.com.", RecordType::A, UDP);
    assert_eq!(shown(&got), "Refused |  |  | ");
    let recursors = vec![([192, 0, 2, 1], 53).into()];
    let config = DnsConfig { recursors, ..DnsConfig::default() };
    let zone = Zone::new(&info(), config.clone()).unwrap();
    for (name, kind) in [
        ("example.com.", RecordType::A),
        ("notconsul.", RecordType::A),
        ("99.20.20.172.in-addr.arpa.", RecordType::PTR),
        (".", RecordType::NS),
    ] {
        assert_eq!(ask(&zone, &v, name, kind, UDP), Outcome::Forward, "{name}");
    }
    // What is ours never leaves.
    let got = reply(config, &v, "nobody.node.consul.", RecordType::A, UDP);
    assert_eq!(got.code, ResponseCode::NXDomain);
}

#[test]
fn transfers_and_other_classes_are_refused() {
    let v = view(members());
    let zone = Zone::new(&info(), DnsConfig::default()).unwrap();
    let name = Name::from_ascii("consul.").unwrap();
    let refused = Outcome::Reply(Answer::bare(ResponseCode::Refused));
    for (kind, class) in [
        (RecordType::AXFR, DNSClass::IN),
        (RecordType::IXFR, DNSClass::IN),
        (RecordType::SOA, DNSClass::CH),
    ] {
        let q = Question { name: &name, kind, class };
        assert_eq!(answer(&zone, &v, q, UDP), refused);
    }
}

#[test]
fn the_alternative_domain_speaks_of_itself() {
    let v = view(members());
    let got = reply(DnsConfig::default(), &v, "alt.example.", RecordType::NS, UDP);
    assert_eq!(
        shown(&got),
        "NoError | alt.example. 0 IN NS agent-one.node.dc1.alt.example. |  | \
         agent-one.node.dc1.alt.example. 0 IN A 172.20.20.10"
    );
    let got = reply(DnsConfig::default(), &v, "x.node.alt.example.", RecordType::A, UDP);
    assert_eq!(got.code, ResponseCode::NXDomain);
    let soa = "alt.example. 0 IN SOA ns.alt.example. hostmaster.alt.example. 77 3600 600 86400 0";
    assert_eq!(lines(&got.authorities), [soa]);
}

#[test]
fn settings_reach_the_records() {
    let soa = SoaConfig { refresh_s: 1, retry_s: 2, expire_s: 3, min_ttl_s: 4 };
    let config = DnsConfig { node_ttl_s: 5, node_meta_txt: false, soa, ..DnsConfig::default() };
    let v = view(members());
    let got = reply(config.clone(), &v, "agent-two.node.consul.", RecordType::A, UDP);
    assert_eq!(shown(&got), "NoError | agent-two.node.consul. 5 IN A 172.20.20.11 |  | ");
    let got = reply(config, &v, "x.node.consul.", RecordType::A, UDP);
    let want = "consul. 4 IN SOA ns.consul. hostmaster.consul. 77 1 2 3 4";
    assert_eq!(lines(&got.authorities), [want]);
    let bad = AgentInfo { domain: "a..b".into(), ..info() };
    let error = Zone::new(&bad, DnsConfig::default()).unwrap_err();
    assert_eq!(error, ZoneError::Domain("a..b".into()));
}

#[test]
fn long_meta_is_split_into_character_strings() {
    let mut all = members();
    let value = "v".repeat(400);
    Arc::make_mut(&mut all[1].record).meta = Pairs::new([("k", value.as_str())]).unwrap();
    let got =
        reply(DnsConfig::default(), &view(all), "agent-two.node.consul.", RecordType::TXT, UDP);
    let hickory_proto::rr::RData::TXT(txt) = &got.answers[0].data else { panic!("no TXT") };
    assert_eq!(txt.txt_data.iter().map(|s| s.len()).collect::<Vec<_>>(), [255, 147]);
    assert_eq!(txt.txt_data.concat(), format!("k={value}").into_bytes());
}

#[test]
fn servers_are_shuffled_and_bounded() {
    let v = many_servers(20);
    let ask = |seed, transport, edns| {
        let cx = Context { seed, transport, edns, ..UDP };
        reply(DnsConfig::default(), &v, "consul.service.consul.", RecordType::A, cx)
    };
    let first = ask(1, Transport::Udp, false);
    assert_eq!((first.answers.len(), first.truncated), (3, true));
    let all = ask(1, Transport::Udp, true);
    assert_eq!((all.answers.len(), all.truncated), (20, false));
    let mut sorted = lines(&all.answers);
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), 20, "one server twice");
    let heads: std::collections::BTreeSet<String> =
        (0..200).map(|s| ask(s, Transport::Tcp, false).answers[0].to_string()).collect();
    assert!(heads.len() > 10, "always the same servers first: {heads:?}");
    let ns = reply(DnsConfig::default(), &v, "consul.", RecordType::NS, UDP);
    assert_eq!((ns.answers.len(), ns.additionals.len()), (8, 8));
}
