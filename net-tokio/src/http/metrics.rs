//! `/v1/agent/metrics`: one snapshot of counters and gauges, in Consul's JSON or as OpenMetrics.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use quorate_core::Stats;
use serde::Serialize;

use crate::{
    http::{
        agent,
        error::ApiError,
        reply::{Content, Reply},
        router::Call,
    },
    view::{Status, View},
};

/// The first part of every metric's name.
const PREFIX: &str = "quorate";

/// Counters of another part of the agent (DNS, transport) to be shown with the node's.
pub trait CounterSource: Send + Sync {
    /// Names (without the prefix: lower case, digits, underscores) and values since the start.
    fn counters(&self) -> Vec<(&'static str, u64)>;
}

impl<F: Fn() -> Vec<(&'static str, u64)> + Send + Sync> CounterSource for F {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        self()
    }
}

macro_rules! http_counters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// What the HTTP server counts. The name is the metric's, without the prefix.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum HttpCounter { $($(#[$doc])* $variant,)+ }

        impl HttpCounter {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The metric's name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

http_counters! {
    /// Connections that were served.
    Connections = "http_connections",
    /// Connections that were closed at once because too many were open.
    ConnectionsRefused = "http_connections_refused",
    /// Connections that ended with an error, a timeout among them.
    ConnectionsBroken = "http_connections_broken",
    /// Times that the system could not hand over a connection.
    AcceptErrors = "http_accept_errors",
    /// Requests that were answered.
    Requests = "http_requests",
    /// Answers with a code from 400 to 499.
    ClientErrors = "http_client_errors",
    /// Answers with a code of 500 or above.
    ServerErrors = "http_server_errors",
    /// Bodies that were too large, too slow or broken.
    BodiesRefused = "http_bodies_refused",
}

/// The values of all [`HttpCounter`]s since the start.
#[derive(Debug, Default)]
pub struct HttpCounters([AtomicU64; HttpCounter::ALL.len()]);

impl HttpCounters {
    /// The value of one.
    pub fn get(&self, c: HttpCounter) -> u64 {
        self.0[c as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, c: HttpCounter) {
        self.0[c as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl CounterSource for HttpCounters {
    fn counters(&self) -> Vec<(&'static str, u64)> {
        HttpCounter::ALL.iter().map(|&c| (c.name(), self.get(c))).collect()
    }
}

/// All values at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    now: Duration,
    uptime: Duration,
    gauges: Vec<(&'static str, u64)>,
    members: [(Status, usize); 4],
    counters: Vec<(&'static str, u64)>,
}

impl Snapshot {
    /// `now` is since 1970, `uptime` since the start of the server.
    pub(crate) fn new(
        view: &View,
        stats: &Stats,
        sources: &[Arc<dyn CounterSource>],
        now: Duration,
        uptime: Duration,
    ) -> Self {
        let mut counters: Vec<_> = stats.iter().collect();
        counters.extend(sources.iter().flat_map(|s| s.counters()));
        let statuses = [Status::Alive, Status::Leaving, Status::Left, Status::Failed];
        Self {
            now,
            uptime,
            gauges: vec![
                ("awareness", u64::from(stats.awareness)),
                ("degraded", stats.degraded as u64),
                ("queued_claims", stats.queued_claims as u64),
                ("view_index", view.index),
            ],
            members: statuses.map(|s| (s, agent::count(view, s))),
            counters,
        }
    }

    /// The reply in the format that `call` asks for.
    pub(crate) fn reply(self, call: &Call<'_>) -> Reply {
        match call.query.get("format") {
            None => Reply::json(&self.to_json(), call.layout()),
            Some("prometheus") => self.open_metrics(),
            Some(other) => ApiError::Format(other.to_owned()).into(),
        }
    }

    fn open_metrics(self) -> Reply {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &registry) {
            Ok(()) => Reply::text(Content::OpenMetrics, text),
            Err(e) => ApiError::Internal(e.to_string()).into(),
        }
    }

    fn to_json(&self) -> MetricsJson {
        let name = |n: &str| format!("{PREFIX}.{n}");
        let mut gauges: Vec<_> = self
            .gauges
            .iter()
            .map(|(n, v)| GaugeJson { name: name(n), value: *v, labels: Labels { status: None } })
            .collect();
        gauges.extend(self.members.iter().map(|(status, n)| GaugeJson {
            name: name("members"),
            value: *n as u64,
            labels: Labels { status: Some(status.as_str()) },
        }));
        let uptime_s = self.uptime.as_secs_f64().max(1.0);
        let counters =
            self.counters.iter().map(|(n, count)| CounterJson::new(name(n), *count, uptime_s));
        MetricsJson {
            timestamp: utc_text(self.now),
            gauges,
            points: [],
            counters: counters.collect(),
            samples: [],
        }
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, value) in &self.gauges {
            let gauge = ConstGauge::new(i64::try_from(*value).unwrap_or(i64::MAX));
            let help = name.replace('_', " ");
            gauge.encode(encoder.encode_descriptor(name, &help, None, gauge.metric_type())?)?;
        }
        let kind = ConstGauge::new(0i64).metric_type();
        let mut members = encoder.encode_descriptor("members", "members by status", None, kind)?;
        for (status, n) in &self.members {
            let gauge = ConstGauge::new(i64::try_from(*n).unwrap_or(i64::MAX));
            gauge.encode(members.encode_family(&[("status", status.as_str())])?)?;
        }
        for (name, value) in &self.counters {
            let counter = ConstCounter::new(*value);
            let help = name.replace('_', " ");
            counter.encode(encoder.encode_descriptor(
                name,
                &help,
                None,
                counter.metric_type(),
            )?)?;
        }
        Ok(())
    }
}

#[derive(Debug, Serialize)]
struct Labels {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct GaugeJson {
    name: String,
    value: u64,
    labels: Labels,
}

/// A counter as a series of samples of 1, which is what counting is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct CounterJson {
    name: String,
    count: u64,
    /// Per second since the start.
    rate: f64,
    sum: u64,
    min: u8,
    max: u8,
    mean: u8,
    stddev: u8,
    labels: Labels,
}

impl CounterJson {
    fn new(name: String, count: u64, uptime_s: f64) -> Self {
        let one = u8::from(count > 0);
        let rate = count as f64 / uptime_s;
        let labels = Labels { status: None };
        Self { name, count, rate, sum: count, min: one, max: one, mean: one, stddev: 0, labels }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct MetricsJson {
    timestamp: String,
    gauges: Vec<GaugeJson>,
    points: [u8; 0],
    counters: Vec<CounterJson>,
    samples: [u8; 0],
}

/// Time since 1970; zero if the host's clock stands before that.
pub(crate) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `2020-11-23 22:05:09 +0000 UTC`, from the time since 1970.
fn utc_text(since_epoch: Duration) -> String {
    let secs = since_epoch.as_secs();
    let (h, m, s) = (secs / 3600 % 24, secs / 60 % 60, secs % 60);
    let (year, month, day) = civil_date(secs / 86_400);
    format!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02} +0000 UTC")
}

/// The Gregorian date of a day counted from 1970-01-01.
fn civil_date(days: u64) -> (u64, u64, u64) {
    const DAYS_PER_400_YEARS: u64 = 146_097;
    // Years that begin in March put the leap day last; 719,468 days lie before 1970.
    let days = days + 719_468;
    let (era, day) = (days / DAYS_PER_400_YEARS, days % DAYS_PER_400_YEARS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        for (secs, text) in [
            (0, "1970-01-01 00:00:00 +0000 UTC"),
            (951_782_399, "2000-02-28 23:59:59 +0000 UTC"),
            (951_782_400, "2000-02-29 00:00:00 +0000 UTC"),
            (1_606_169_109, "2020-11-23 22:05:09 +0000 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 +0000 UTC"),
        ] {
            assert_eq!(utc_text(Duration::from_secs(secs)), text);
        }
    }
}
