//! Defaults, and every refusal.

use super::*;

fn host() -> Host {
    let addrs = vec![("eth0".to_owned(), "10.0.0.9".parse().unwrap())];
    Host { name: "here".into(), addrs, outbound: None }
}

/// The settings of a JSON text, with a data directory.
fn settings(json: &str) -> Settings {
    let mut s = Settings { data_dir: Some("/d".into()), ..Settings::default() };
    s.add_json("a.json".as_ref(), json).unwrap();
    s
}

fn plan(json: &str) -> Plan {
    Plan::new(Mode::Normal, settings(json), &host()).unwrap()
}

fn refused(json: &str) -> String {
    Plan::new(Mode::Normal, settings(json), &host()).unwrap_err().to_string()
}

#[test]
fn defaults() {
    let p = plan("{}");
    assert_eq!((p.name.as_str(), p.label.as_str(), p.role), ("here", "dc1", Role::Client));
    assert_eq!(p.bind.to_string(), "0.0.0.0:8301");
    assert_eq!(p.advertise.to_string(), "10.0.0.9:8301");
    assert_eq!(p.http_addrs, ["127.0.0.1:8500".parse().unwrap()]);
    assert_eq!(p.dns_addrs, ["127.0.0.1:8600".parse().unwrap()]);
    assert_eq!((p.domain.as_str(), p.retry_max), ("consul", 0));
    assert_eq!(p.retry_interval, Duration::from_secs(30));
    assert_eq!(p.leave_on, LeaveOn { interrupt: true, terminate: true });
    assert_eq!(p.log.level, LogLevel::Info);
    assert!(p.warnings.is_empty(), "{:?}", p.warnings);
}

#[test]
fn a_server_leaves_on_no_signal_unless_told_to() {
    let p = plan(r#"{"server": true, "bootstrap_expect": 1}"#);
    assert_eq!(p.leave_on, LeaveOn { interrupt: false, terminate: false });
    assert_eq!(p.role, Role::Server { port: 8300, expect: 1, bootstrap: false });
    let p =
        plan(r#"{"server": true, "leave_on_terminate": true, "skip_leave_on_interrupt": false}"#);
    assert_eq!(p.leave_on, LeaveOn { interrupt: true, terminate: true });
    let p = plan(r#"{"leave_on_terminate": false, "skip_leave_on_interrupt": true}"#);
    assert_eq!(p.leave_on, LeaveOn { interrupt: false, terminate: false });
}

#[test]
fn dev_is_a_server_on_its_own_on_the_loopback_address() {
    let p = Plan::new(Mode::Dev, Settings::default(), &host()).unwrap();
    assert_eq!(p.role, Role::Server { port: 8300, expect: 0, bootstrap: true });
    assert_eq!((p.bind.to_string().as_str(), &p.data_dir), ("127.0.0.1:8301", &None));
    assert_eq!(p.advertise, p.bind);
    let s = settings(r#"{"bootstrap_expect": 1}"#);
    let e = Plan::new(Mode::Dev, s, &host()).unwrap_err().to_string();
    assert_eq!(e, "'bootstrap_expect > 0' not allowed in dev mode");
    let p = Plan::new(Mode::Dev, settings("{}"), &host()).unwrap();
    assert!(p.data_dir.is_none() && p.warnings[0].contains("data_dir"), "{:?}", p.warnings);
}

#[test]
fn refusals_of_roles() {
    let none = Plan::new(Mode::Normal, Settings::default(), &host()).unwrap_err().to_string();
    assert!(none.starts_with("data_dir cannot be empty"), "{none}");
    for (json, want) in [
        (r#"{"bootstrap_expect": 3}"#, "'bootstrap_expect > 0' requires 'server = true'"),
        (r#"{"bootstrap": true}"#, "'bootstrap = true' requires 'server = true'"),
        (
            r#"{"server": true, "bootstrap": true, "bootstrap_expect": 1}"#,
            "'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive",
        ),
        (
            r#"{"server": true, "bootstrap_expect": -1}"#,
            "bootstrap_expect cannot be -1. Must be greater than or equal to zero",
        ),
        (
            r#"{"server": true, "bootstrap_expect": 17}"#,
            "bootstrap_expect cannot be 17: at most 16 servers are possible",
        ),
    ] {
        assert_eq!(refused(json), want, "{json}");
    }
}

#[test]
fn refusals_of_values() {
    for (json, want) in [
        (r#"{"datacenter": "a b"}"#, "datacenter 'a b' is not valid"),
        (r#"{"datacenter": ""}"#, "datacenter '' is not valid"),
        (r#"{"node_name": "a b"}"#, "node_name 'a b' is not valid"),
        (r#"{"node_name": ""}"#, "node_name '' is not valid: it is empty"),
        (r#"{"node_id": "x"}"#, "node_id 'x' is not a UUID"),
        (r#"{"node_meta": {"a b": "c"}}"#, "node_meta is not valid: 'a b' cannot be a key"),
        (r#"{"log_level": "loud"}"#, "log_level 'loud' is not valid: choose trace, debug, info"),
        (r#"{"encrypt": "x"}"#, "encrypt has an invalid key"),
        (r#"{"encrypt": "AAAA"}"#, "encrypt has an invalid key: it has 3 bytes"),
        (r#"{"advertise_addr": "0.0.0.0"}"#, "advertise_addr cannot be 0.0.0.0"),
        (r#"{"advertise_addr": "::"}"#, "advertise_addr cannot be ::"),
        (r#"{"advertise_addr": "there"}"#, "advertise_addr: 'there' is not an IP address"),
        (r#"{"bind_addr": "10.0.0.9", "advertise_addr": "fd00::1"}"#, "bind_addr 10.0.0.9 and"),
        (r#"{"bind_addr": "{{ GetSecretIP }}"}"#, "bind_addr: the template '{{ GetSecretIP }}'"),
        (r#"{"ports": {"http": 0}}"#, "ports.http cannot be 0: a port is 1 to 65535, or -1"),
        (r#"{"ports": {"serf_lan": -1}}"#, "ports.serf_lan cannot be -1: a port is 1 to 65535"),
        (r#"{"ports": {"dns": 65536}}"#, "ports.dns cannot be 65536"),
        (r#"{"retry_max": -1}"#, "retry_max cannot be -1"),
        (r#"{"domain": "a..b"}"#, "domain 'a..b' is not a domain name"),
        (r#"{"alt_domain": "a b"}"#, "alt_domain 'a b' is not a domain name"),
        (r#"{"recursors": ["dns.example"]}"#, "recursors: 'dns.example' is not an IP address"),
        (r#"{"dns_config": {"soa": {"retry": -1}}}"#, "dns_config.soa.retry cannot be -1"),
    ] {
        let got = refused(json);
        assert!(got.starts_with(want), "{json}: {got}");
    }
}

#[test]
fn a_key_of_each_length_is_taken_and_never_shown() {
    for n in [16, 24, 32] {
        let key = STANDARD.encode(vec![7; n]);
        let p = plan(&format!(r#"{{"encrypt": "{key}"}}"#));
        assert_eq!(p.keys.as_ref().unwrap().keys().next().unwrap().reveal(), vec![7; n]);
        assert!(!format!("{p:?}").contains("7, 7"));
    }
}

#[test]
fn several_private_addresses_are_listed() {
    let mut h = host();
    h.addrs.push(("eth1".into(), "192.168.0.4".parse().unwrap()));
    let e = Plan::new(Mode::Normal, settings("{}"), &h).unwrap_err().to_string();
    assert!(e.contains("10.0.0.9, 192.168.0.4") && e.contains("-bind"), "{e}");
    let s = settings(r#"{"advertise_addr": "192.168.0.4"}"#);
    let p = Plan::new(Mode::Normal, s, &h).unwrap();
    assert_eq!(p.bind.to_string(), "0.0.0.0:8301");
    assert_eq!(p.advertise.to_string(), "192.168.0.4:8301");
}

#[test]
fn listening_addresses() {
    let p = plan(
        r#"{"client_addr": "127.0.0.1 10.0.0.9", "addresses": {"http": "::1"},
            "ports": {"dns": 53, "http": 80}, "bind_addr": "{{ GetPrivateIP }}"}"#,
    );
    assert_eq!(p.http_addrs, ["[::1]:80".parse().unwrap()]);
    let dns: Vec<SocketAddr> =
        vec!["127.0.0.1:53".parse().unwrap(), "10.0.0.9:53".parse().unwrap()];
    assert_eq!(p.dns_addrs, dns);
    assert_eq!(p.bind.to_string(), "10.0.0.9:8301");
    let p = plan(r#"{"ports": {"dns": -1, "http": -1}}"#);
    assert!(p.dns_addrs.is_empty() && p.http_addrs.is_empty());
}

#[test]
fn names_and_numbers_are_brought_into_form() {
    let p = plan(
        r#"{"domain": ".Example.COM.", "datacenter": "DC2", "node_name": "a_b",
            "node_id": "FFFFFFFF-ffff-4fff-bfff-ffffffffffff",
            "recursors": ["192.0.2.1", "192.0.2.2:5353", "::1"],
            "dns_config": {"node_ttl": "5s", "soa": {"min_ttl": 7}},
            "server": true, "bootstrap_expect": 4}"#,
    );
    assert_eq!((p.domain.as_str(), p.label.as_str()), ("example.com", "dc2"));
    let recursors: Vec<String> = p.dns.recursors.iter().map(ToString::to_string).collect();
    assert_eq!(recursors, ["192.0.2.1:53", "192.0.2.2:5353", "[::1]:53"]);
    assert_eq!((p.dns.node_ttl_s, p.dns.soa.min_ttl_s, p.dns.soa.retry_s), (5, 7, 600));
    assert!(p.node_id.is_some());
    assert_eq!(p.warnings.len(), 2, "{:?}", p.warnings);
    assert!(p.warnings[0].contains("even number"), "{:?}", p.warnings);
    assert!(p.warnings[1].contains("'a_b' is no valid host name"), "{:?}", p.warnings);
}
