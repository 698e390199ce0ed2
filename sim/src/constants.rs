//! The constants of the protocol by name, so that [`crate::compare`] can run each at other values.
//! One table feeds parser, help and errors; a test holds that no field of [`Tuning`] is missing.

use std::{fmt::Write as _, time::Duration};

use quorate_core::Tuning;

use crate::{Program, compare::Profile};

/// What a value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// Parts of a hundred.
    Percent,
    /// Things.
    Number,
    /// 1: yes, 0: no.
    Switch,
}

impl Unit {
    /// As it stands behind a value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ms => " ms",
            Self::Percent => " %",
            Self::Number => "",
            Self::Switch => " (1: yes, 0: no)",
        }
    }

    /// The highest value: above it nothing new happens, and arithmetic stays far from its end.
    const fn highest(self) -> u64 {
        match self {
            Self::Ms => u32::MAX as u64 * 1000,
            Self::Percent => 100,
            Self::Number => 100_000,
            Self::Switch => 1,
        }
    }
}

/// One constant of the protocol.
#[derive(Clone, Copy, Debug)]
pub struct Constant {
    /// The field of [`Tuning`], with the part of it where it has parts.
    pub name: &'static str,
    /// What its value counts.
    pub unit: Unit,
    /// The lowest value with which a node can work.
    pub lowest: u64,
    /// Its value there.
    pub get: fn(&Tuning) -> u64,
    /// Gives it another one.
    pub set: fn(&mut Tuning, u64),
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

/// A row of the table, by the type of its field.
macro_rules! constant {
    (ms $lowest:literal $($field:ident).+) => {
        constant!(Ms $lowest $($field).+, |t| millis(t.$($field).+), Duration::from_millis)
    };
    (number $lowest:literal $($field:ident).+) => {
        constant!(Number $lowest $($field).+, |t| widened(t.$($field).+), narrowed)
    };
    (percent $($field:ident).+) => {
        constant!(Percent 0 $($field).+, |t| widened(t.$($field).+), narrowed)
    };
    (switch $($field:ident).+) => {
        constant!(Switch 0 $($field).+, |t| u64::from(t.$($field).+), is_on)
    };
    ($unit:ident $lowest:literal $($field:ident).+, $get:expr, $made:expr) => {
        Constant {
            name: concat_dots!($($field).+),
            unit: Unit::$unit,
            lowest: $lowest,
            get: $get,
            set: |t, v| t.$($field).+ = $made(v),
        }
    };
}

/// `a.b`, without the blanks that `stringify` may add.
macro_rules! concat_dots {
    ($a:ident) => {
        stringify!($a)
    };
    ($a:ident . $b:ident) => {
        concat!(stringify!($a), ".", stringify!($b))
    };
}

fn widened<T: TryInto<u64>>(n: T) -> u64 {
    n.try_into().unwrap_or(u64::MAX)
}

fn is_on(n: u64) -> bool {
    n != 0
}

/// Values are within [`Unit::highest`], so they fit.
fn narrowed<T: TryFrom<u64> + Default>(n: u64) -> T {
    T::try_from(n).unwrap_or_default()
}

/// All constants, in the order of [`Tuning`].
pub const CONSTANTS: &[Constant] = &[
    constant!(ms 1 probe_interval),
    constant!(ms 1 probe_timeout),
    constant!(number 0 ping_repeats),
    constant!(number 0 last_look),
    constant!(number 0 indirect_checks),
    constant!(percent nack_percent),
    constant!(ms 0 silent.min),
    constant!(ms 0 silent.max),
    constant!(ms 0 mute.min),
    constant!(ms 0 mute.max),
    constant!(switch patience_by_size),
    constant!(number 0 suspicion_confirmations),
    constant!(ms 0 refused_grace),
    constant!(switch graded_evidence),
    constant!(switch doubt_failures),
    constant!(ms 0 alone_after),
    constant!(number 0 observers),
    constant!(ms 1 gossip_interval),
    constant!(number 0 gossip_fanout),
    constant!(number 0 ring_hearers),
    constant!(number 0 retransmit_mult),
    constant!(switch count_hearing),
    constant!(switch immediate_gossip),
    constant!(number 0 immediate_rounds),
    constant!(ms 0 gossip_to_dead),
    constant!(number 0 awareness_max),
    constant!(ms 0 full_sync_interval),
    constant!(ms 0 digest_quiet),
    constant!(ms 1 reconnect_interval),
    constant!(ms 0 reconnect_timeout),
    constant!(ms 0 tombstone_timeout),
    constant!(ms 1 stream_timeout),
    constant!(ms 0 connect_hedge),
    constant!(ms 0 leave_timeout),
    Constant {
        name: "protocol.min",
        unit: Unit::Number,
        lowest: 1,
        get: |t| u64::from(t.protocol.0),
        set: |t, v| t.protocol.0 = u8::try_from(v).unwrap_or(u8::MAX),
    },
    Constant {
        name: "protocol.max",
        unit: Unit::Number,
        lowest: 1,
        get: |t| u64::from(t.protocol.1),
        set: |t, v| t.protocol.1 = u8::try_from(v).unwrap_or(u8::MAX),
    },
    constant!(switch coordinates),
    constant!(ms 1 lateness),
    constant!(ms 1 pause_threshold),
];

/// Reads `NAME=V1,V2,...`: our constants with that one changed, a profile for each value.
///
/// # Errors
/// A text for people: what is not there, or which values are possible.
pub fn parse(text: &str) -> Result<Vec<Profile>, String> {
    let (constant, values) = named(text)?;
    let profile = |value: &str| {
        let mut tuning = Tuning::default();
        let v = constant.give(&mut tuning, value)?;
        tuning.check().map_err(|e| format!("{}={v}: {e}", constant.name))?;
        Ok(Profile { name: format!("{}={v}", constant.name), program: Program::tuned(tuning) })
    };
    values.split(',').map(profile).collect()
}

/// Reads texts `NAME=V` and changes those constants. They must fit each other when all are set:
/// the order says nothing.
///
/// # Errors
/// As [`parse`].
pub fn change(tuning: &mut Tuning, texts: &[String]) -> Result<(), String> {
    for text in texts {
        let (constant, value) = named(text)?;
        constant.give(tuning, value)?;
    }
    tuning.check().map_err(|e| format!("{}: {e}", texts.join(" ")))
}

fn named(text: &str) -> Result<(&'static Constant, &str), String> {
    let (name, values) = text.split_once('=').ok_or(format!("`{text}` is not NAME=VALUE"))?;
    let Some(constant) = CONSTANTS.iter().find(|c| c.name == name) else {
        let known: Vec<&str> = CONSTANTS.iter().map(|c| c.name).collect();
        return Err(format!("unknown constant `{name}`; known are {}", known.join(", ")));
    };
    Ok((constant, values))
}

impl Constant {
    fn give(&self, tuning: &mut Tuning, value: &str) -> Result<u64, String> {
        let (low, high) = (self.lowest, self.unit.highest());
        let v: Option<u64> = value.parse().ok().filter(|v| (low..=high).contains(v));
        let v = v.ok_or_else(|| {
            let (name, unit) = (self.name, self.unit.name());
            format!("`{value}` is no value of {name}: give {low} to {high}{unit}")
        })?;
        (self.set)(tuning, v);
        Ok(v)
    }
}

/// A line per constant: its value here and in memberlist's profile.
pub fn help() -> String {
    let (ours, theirs) = (Tuning::default(), Tuning::memberlist());
    let mut out = "Constants for --set, our value, and memberlist's where it differs:\n".to_owned();
    for c in CONSTANTS {
        let (a, b) = ((c.get)(&ours), (c.get)(&theirs));
        let differs = if a == b { String::new() } else { format!("  memberlist {b}") };
        // Writing to a string does not fail.
        let _ = writeln!(out, "  {:<24}{a}{}{differs}", c.name, c.unit.name());
    }
    out
}

#[cfg(test)]
mod tests {
    use quorate_core::Patience;

    use super::*;

    /// Names of the fields, and values that none of them has by default. A field that is missing
    /// here does not compile.
    macro_rules! all_fields {
        ($($field:ident: $value:expr),* $(,)?) => {{
            let names = vec![$(stringify!($field)),*];
            // Tests build core with the rules that can be broken.
            (names, Tuning { $($field: $value,)* bug: None })
        }};
    }

    fn fields() -> (Vec<&'static str>, Tuning) {
        let ms = Duration::from_millis;
        all_fields!(
            probe_interval: ms(1001),
            probe_timeout: ms(1002),
            ping_repeats: 1003,
            last_look: 1004,
            indirect_checks: 1005,
            nack_percent: 6,
            silent: Patience::millis(1007, 1008),
            mute: Patience::millis(1009, 1010),
            patience_by_size: true,
            suspicion_confirmations: 1011,
            refused_grace: ms(1012),
            graded_evidence: false,
            doubt_failures: false,
            alone_after: ms(1030),
            observers: 1013,
            gossip_interval: ms(1014),
            gossip_fanout: 1015,
            ring_hearers: 1031,
            retransmit_mult: 1016,
            count_hearing: false,
            immediate_gossip: false,
            immediate_rounds: 1017,
            gossip_to_dead: ms(1018),
            awareness_max: 1019,
            full_sync_interval: ms(1020),
            digest_quiet: ms(1021),
            reconnect_interval: ms(1022),
            reconnect_timeout: ms(1023),
            tombstone_timeout: ms(1024),
            stream_timeout: ms(1025),
            connect_hedge: ms(1026),
            leave_timeout: ms(1027),
            protocol: (7, 8),
            coordinates: false,
            lateness: ms(1029),
            pause_threshold: ms(1028),
        )
    }

    /// Whoever copies all constants of the table has copied all fields.
    #[test]
    fn the_table_has_every_field_of_tuning() {
        let (names, other) = fields();
        let mut made = Tuning::default();
        for c in CONSTANTS {
            assert_ne!((c.get)(&made), (c.get)(&other), "{} shares a field", c.name);
            (c.set)(&mut made, (c.get)(&other));
            assert_eq!((c.get)(&made), (c.get)(&other), "{}", c.name);
        }
        assert_eq!(made, other);
        let mut of_table: Vec<&str> =
            CONSTANTS.iter().filter_map(|c| c.name.split('.').next()).collect();
        of_table.dedup();
        assert_eq!(of_table, names);
    }

    #[test]
    fn a_constant_is_set_by_its_name() {
        let set = parse("mute.max=17000,20000").unwrap();
        let names: Vec<&str> = set.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["mute.max=17000", "mute.max=20000"]);
        assert_eq!(set[1].program.tuning.mute, Patience::millis(12_000, 20_000));
        let ours = Tuning { mute: Tuning::default().mute, ..set[1].program.tuning.clone() };
        assert_eq!(ours, Tuning::default());
        assert!(!parse("graded_evidence=0").unwrap()[0].program.tuning.graded_evidence);
        let mut both = set[1].program.tuning.clone();
        change(&mut both, &["mute.min=7000".into()]).unwrap();
        assert_eq!(both.mute, Patience::millis(7000, 20_000));
        assert!(change(&mut both, &["mute.min=7000,8000".into()]).is_err(), "one value at a time");
    }

    #[test]
    fn constants_that_fit_each_other_are_set_in_any_order() {
        // Alone, either is beyond the other one's value.
        let mut set = ["silent.min=50000".to_owned(), "silent.max=90000".to_owned()];
        for _ in 0..2 {
            let mut tuning = Tuning::default();
            change(&mut tuning, &set).unwrap();
            assert_eq!(tuning.silent, Patience::millis(50_000, 90_000));
            set.reverse();
        }
        let error = change(&mut Tuning::default(), &set[..1]).unwrap_err();
        assert!(error.starts_with("silent.min=50000: "), "{error}");
        set[1] = "silent.max=40000".into();
        let error = change(&mut Tuning::default(), &set).unwrap_err();
        assert!(error.starts_with("silent.min=50000 silent.max=40000: "), "{error}");
    }

    #[test]
    fn what_cannot_be_set_is_said_with_what_can() {
        let error = |text: &str| parse(text).unwrap_err();
        assert!(
            error("observer=1").starts_with("unknown constant `observer`; known are probe_int")
        );
        for c in CONSTANTS {
            assert!(error("observer=1").contains(c.name), "{}", c.name);
            assert!(help().contains(c.name), "{}", c.name);
        }
        assert_eq!(error("observers"), "`observers` is not NAME=VALUE");
        assert_eq!(error("nack_percent=101"), "`101` is no value of nack_percent: give 0 to 100 %");
        assert_eq!(error("observers=3,"), "`` is no value of observers: give 0 to 100000");
        // Would run for ever at one point in time.
        assert!(parse("reconnect_interval=0").is_err());
        assert_eq!(
            error("probe_timeout=1000"),
            "probe_timeout=1000: the probe timeout must be below the probe interval"
        );
    }
}
