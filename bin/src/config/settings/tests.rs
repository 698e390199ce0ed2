//! Merging, and what a wrong file is told.

use super::*;

fn file(settings: &mut Settings, text: &str) -> Result<(), ConfigError> {
    settings.add_json(Path::new("a.json"), text)
}

fn refused(text: &str) -> String {
    file(&mut Settings::default(), text).unwrap_err().to_string()
}

#[test]
fn later_values_win_and_lists_add_up() {
    let mut s = Settings::default();
    file(&mut s, r#"{"node_name":"a","start_join":["1.1.1.1"],"node_meta":{"x":"1","y":"1"}}"#)
        .unwrap();
    file(&mut s, r#"{"node_name":"b","start_join":["2.2.2.2"],"node_meta":{"x":"2"}}"#).unwrap();
    s.add_flag("node", "node_name", "c").unwrap();
    s.add_flag("join", "start_join", "3.3.3.3").unwrap();
    s.add_flag("node-meta", "node_meta", "y:z:3").unwrap();
    assert_eq!(s.node_name.as_deref(), Some("c"));
    assert_eq!(s.start_join, ["1.1.1.1", "2.2.2.2", "3.3.3.3"]);
    let meta: Vec<_> = s.node_meta.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(meta, [("x", "2"), ("y", "z:3")]);
}

#[test]
fn sections_are_entered() {
    let mut s = Settings::default();
    file(
        &mut s,
        r#"{"ports":{"dns":53,"http":-1},"addresses":{"http":"0.0.0.0"},
            "dns_config":{"node_ttl":"5s","soa":{"min_ttl":30}},"retry_interval":"1m"}"#,
    )
    .unwrap();
    assert_eq!((s.dns_port, s.http_port, s.server_port), (Some(53), Some(-1), None));
    assert_eq!(s.http_addr.as_deref(), Some("0.0.0.0"));
    assert_eq!(s.dns.node_ttl, Some(Duration::from_secs(5)));
    assert_eq!(s.dns.soa_min_ttl, Some(30));
    assert_eq!(s.retry_interval, Some(Duration::from_secs(60)));
}

#[test]
fn keys_without_effect_are_remembered_once_and_honoured_ones_are_not() {
    let mut s = Settings::default();
    file(
        &mut s,
        r#"{"connect":{"anything":[1,{}]},"ports":{"https":8501},"disable_update_check":true,
            "service":{"name":"web"},"service":{"name":"db"},"performance":null}"#,
    )
    .unwrap();
    s.add_flag("ui", "ui", "true").unwrap();
    s.add_flag("enable-script-checks", "enable_script_checks", "false").unwrap();
    assert_eq!(s.ignored, ["connect", "ports.https", "service", "-ui"]);
}

#[test]
fn a_wrong_file_is_told_where_and_what() {
    assert_eq!(
        refused(r#"{"node_nme": "x"}"#),
        "a.json: unknown key 'node_nme' (did you mean 'node_name'?)"
    );
    assert_eq!(refused(r#"{"banana": 1}"#), "a.json: unknown key 'banana'");
    assert_eq!(
        refused(r#"{"ports": {"htp": 1}}"#),
        "a.json: unknown key 'ports.htp' (did you mean 'ports.http'?)"
    );
    assert_eq!(
        refused(r#"{"server": "true"}"#),
        "a.json: server must be true or false, not a string"
    );
    assert_eq!(
        refused(r#"{"ports": {"dns": 1.5}}"#),
        "a.json: ports.dns must be a whole number, not a number with a fraction"
    );
    assert_eq!(refused(r#"{"ports": 3}"#), "a.json: ports must be an object, not a whole number");
    assert_eq!(
        refused(r#"{"retry_join": ["a", 2]}"#),
        "a.json: retry_join[1] must be a string, not a whole number"
    );
    assert_eq!(
        refused(r#"{"node_meta": {"a": 2}}"#),
        "a.json: node_meta.a must be a string, not a whole number"
    );
    assert_eq!(
        refused(r#"{"retry_interval": "soon"}"#),
        "a.json: retry_interval must be a duration in a string, such as \"30s\", \
         not a string without a number and a unit"
    );
    assert_eq!(refused("[]"), "a.json: the whole file must be an object, not a list");
    assert_eq!(refused("{\n  \"a\" 1\n}"), "a.json: line 2, column 7: expected `:`");
    assert_eq!(
        refused("{\"server\": true,\n\"server\": true}"),
        "a.json: line 2, column 8: the key \"server\" is there twice"
    );
}

#[test]
fn a_folder_is_read_in_order_and_hcl_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("b.json"), r#"{"node_name":"b","retry_join":["b"]}"#).unwrap();
    fs::write(dir.path().join("a.json"), r#"{"node_name":"a","retry_join":["a"]}"#).unwrap();
    fs::write(dir.path().join("notes.txt"), "not json").unwrap();
    let mut s = Settings::default();
    s.add_path(dir.path()).unwrap();
    assert_eq!((s.node_name.as_deref(), s.retry_join.len()), (Some("b"), 2));

    fs::write(dir.path().join("c.hcl"), "node_name = \"c\"").unwrap();
    let e = s.add_path(dir.path()).unwrap_err().to_string();
    assert!(e.contains("c.hcl") && e.contains("HCL"), "{e}");
    let e = s.add_path(&dir.path().join("none.json")).unwrap_err().to_string();
    assert!(e.contains("none.json"), "{e}");
}

#[cfg(unix)]
#[test]
fn a_file_without_end_is_not_read_to_the_end() {
    let e = Settings::default().add_path(Path::new("/dev/zero")).unwrap_err().to_string();
    assert!(e.starts_with("/dev/zero: ") && e.contains("too much"), "{e}");
}

#[test]
fn flags_of_a_wrong_type_are_named() {
    let mut s = Settings::default();
    let e = s.add_flag("http-port", "ports.http", "x").unwrap_err().to_string();
    assert_eq!(e, "-http-port: 'x' is not a whole number");
    let e = s.add_flag("node-meta", "node_meta", "x").unwrap_err().to_string();
    assert_eq!(e, "-node-meta: 'x' is not key:value");
}
