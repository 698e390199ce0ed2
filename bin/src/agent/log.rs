//! The agent's log: one line per event, at once, on standard output and in a file if wanted.
//!
//! `2026-11-23T22:00:00.000Z [INFO]  agent: member alive: web-1 10.0.0.5:8301`. Libraries are
//! heard from `warn` on, unless the level is `trace`.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Registry,
    filter::Targets,
    fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer, time::FormatTime},
    layer::SubscriberExt,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt,
};

use crate::config::plan::{LogLevel, LogPlan};

/// Crates whose events are ours; all others are libraries.
const OWN: [&str; 3] = ["quorate", "net_tokio", "quorate_core"];

/// Where the log goes. Clones share the file.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    path: Option<PathBuf>,
    file: Arc<Mutex<Option<File>>>,
    /// What is let through, once the log has started.
    filter: Option<reload::Handle<Targets, Registry>>,
}

impl Sink {
    fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let path = path.map(|p| if p.is_dir() { p.join("quorate.log") } else { p });
        let sink = Self { path, file: Arc::default(), filter: None };
        sink.reopen()?;
        Ok(sink)
    }

    /// Opens the file anew, after a rotation by others. Whether there is one.
    ///
    /// # Errors
    /// The system's; the old file stays in use.
    pub(super) fn reopen(&self) -> io::Result<bool> {
        let Some(path) = &self.path else { return Ok(false) };
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        Ok(true)
    }
}

impl Sink {
    /// From now on.
    pub(super) fn set_level(&self, level: LogLevel) {
        if let Some(handle) = &self.filter {
            // It fails only when the log is gone.
            let _ = handle.reload(filter(level));
        }
    }
}

impl Write for Sink {
    /// Writes to both. A reader that went away or a full disk does not stop the agent.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(file) = &mut *self.file.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = file.write_all(line);
        }
        let mut out = io::stdout().lock();
        let _ = out.write_all(line).and_then(|()| out.flush());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Starts logging for the rest of the process.
///
/// # Errors
/// The log file cannot be opened.
pub(super) fn init(plan: &LogPlan) -> io::Result<Sink> {
    let (filter, handle) = reload::Layer::new(filter(plan.level));
    let sink = Sink { filter: Some(handle), ..Sink::open(plan.file.clone())? };
    let registry = tracing_subscriber::registry().with(filter);
    // A second start in one process keeps the first subscriber.
    let _ = if plan.json {
        let layer = tracing_subscriber::fmt::layer().event_format(Json).with_writer(sink.clone());
        registry.with(layer).try_init()
    } else {
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .event_format(Line)
            .with_writer(sink.clone());
        registry.with(layer).try_init()
    };
    Ok(sink)
}

fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let libraries = if level == LevelFilter::TRACE { level } else { level.min(LevelFilter::WARN) };
    OWN.iter().fold(Targets::new().with_default(libraries), |t, own| t.with_target(*own, level))
}

/// UTC with milliseconds, RFC 3339.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        write!(w, "{}", Timestamp(since))
    }
}

/// A time since 1970-01-01T00:00:00Z.
struct Timestamp(Duration);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.as_secs();
        let (days, second) = (secs / 86_400, secs % 86_400);
        // Days since 0000-03-01 in eras of 400 years: leap days come last in a year from March.
        let z = days + 719_468;
        let (era, day_of_era) = (z / 146_097, z % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
        let ms = self.0.subsec_millis();
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z")
    }
}

/// The human form of an event.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut w: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let meta = event.metadata();
        let level = match *meta.level() {
            Level::TRACE => "[TRACE]",
            Level::DEBUG => "[DEBUG]",
            Level::INFO => "[INFO] ",
            Level::WARN => "[WARN] ",
            Level::ERROR => "[ERROR]",
        };
        Utc.format_time(&mut w)?;
        write!(w, " {level} {}: ", source(meta.target()))?;
        ctx.field_format().format_fields(w.by_ref(), event)?;
        writeln!(w)
    }
}

/// The form for machines: the fields of hclog, which Consul's log has.
struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut w: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let meta = event.metadata();
        let level = meta.level().as_str().to_ascii_lowercase();
        let mut at = String::new();
        Utc.format_time(&mut Writer::new(&mut at))?;
        let mut fields = Fields(serde_json::Map::new());
        fields.0.insert("@level".into(), level.into());
        fields.0.insert("@module".into(), source(meta.target()).into());
        fields.0.insert("@timestamp".into(), at.into());
        event.record(&mut fields);
        writeln!(w, "{}", serde_json::Value::Object(fields.0))
    }
}

/// The fields of an event, its message as `@message`.
struct Fields(serde_json::Map<String, serde_json::Value>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        let name = if field.name() == "message" { "@message" } else { field.name() };
        self.0.insert(name.to_owned(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// `agent` for our own events, the crate for a library's.
fn source(target: &str) -> &str {
    let krate = target.split("::").next().unwrap_or(target);
    if OWN.contains(&krate) { "agent" } else { krate }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps() {
        let at = |secs: u64, ms| Timestamp(Duration::from_millis(secs * 1000 + ms)).to_string();
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_827_696, 7), "2000-02-29T12:34:56.007Z");
        assert_eq!(at(1_795_472_399, 999), "2026-11-23T22:19:59.999Z");
        assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn libraries_are_quiet_below_warn_unless_all_is_wanted() {
        let info = filter(LogLevel::Info);
        assert!(info.would_enable("net_tokio::driver", &Level::INFO));
        assert!(!info.would_enable("net_tokio::driver", &Level::DEBUG));
        assert!(!info.would_enable("hickory_server::server", &Level::INFO));
        assert!(info.would_enable("hickory_server::server", &Level::WARN));
        assert!(!filter(LogLevel::Error).would_enable("hyper", &Level::WARN));
        assert!(filter(LogLevel::Trace).would_enable("hyper", &Level::TRACE));
    }

    #[test]
    fn a_file_gets_the_lines_and_survives_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut sink = Sink::open(Some(path.clone())).unwrap();
        sink.write_all(b"one\n").unwrap();
        std::fs::rename(&path, dir.path().join("a.log.1")).unwrap();
        assert!(sink.reopen().unwrap());
        sink.write_all(b"two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        assert!(Sink::open(Some(dir.path().join("none/a.log"))).is_err());
        assert_eq!(source("net_tokio::driver"), "agent");
        assert_eq!(source("hyper::proto"), "hyper");
    }
}
