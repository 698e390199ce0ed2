//! What files and flags said, merged but not yet understood.
//!
//! Order: files as given (a folder's in alphabetical order), then flags. Later values win, lists
//! add up.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    ConfigError,
    json::{self, Tree},
    keys::{self, Target},
};
use crate::text;

/// A configuration file larger than this is refused.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// What was said, key by key; `None` if nothing was.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "the table in `keys` names and explains them")]
pub(crate) struct Settings {
    pub(crate) server: Option<bool>,
    pub(crate) bootstrap: Option<bool>,
    pub(crate) bootstrap_expect: Option<i64>,
    pub(crate) data_dir: Option<String>,
    pub(crate) node_name: Option<String>,
    pub(crate) node_id: Option<String>,
    pub(crate) node_meta: Vec<(String, String)>,
    pub(crate) datacenter: Option<String>,
    pub(crate) bind_addr: Option<String>,
    pub(crate) advertise_addr: Option<String>,
    pub(crate) client_addr: Option<String>,
    pub(crate) http_addr: Option<String>,
    pub(crate) dns_addr: Option<String>,
    pub(crate) serf_lan_port: Option<i64>,
    pub(crate) server_port: Option<i64>,
    pub(crate) http_port: Option<i64>,
    pub(crate) dns_port: Option<i64>,
    pub(crate) domain: Option<String>,
    pub(crate) alt_domain: Option<String>,
    pub(crate) recursors: Vec<String>,
    pub(crate) dns: DnsSettings,
    pub(crate) start_join: Vec<String>,
    pub(crate) retry_join: Vec<String>,
    pub(crate) retry_interval: Option<Duration>,
    pub(crate) retry_max: Option<i64>,
    pub(crate) rejoin_after_leave: Option<bool>,
    pub(crate) disable_coordinates: Option<bool>,
    pub(crate) reconnect_timeout: Option<Duration>,
    pub(crate) leave_on_terminate: Option<bool>,
    pub(crate) skip_leave_on_interrupt: Option<bool>,
    pub(crate) log_level: Option<String>,
    pub(crate) log_json: Option<bool>,
    pub(crate) log_file: Option<String>,
    pub(crate) pid_file: Option<String>,
    pub(crate) protocol: Option<i64>,
    pub(crate) encrypt: Option<String>,
    /// Keys that were given and have no effect, each once.
    pub(crate) ignored: Vec<String>,
}

/// What was said below `dns_config`.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "the table in `keys` names and explains them")]
pub(crate) struct DnsSettings {
    pub(crate) node_ttl: Option<Duration>,
    pub(crate) node_meta_txt: Option<bool>,
    pub(crate) udp_answer_limit: Option<i64>,
    pub(crate) recursor_timeout: Option<Duration>,
    pub(crate) soa_refresh: Option<i64>,
    pub(crate) soa_retry: Option<i64>,
    pub(crate) soa_expire: Option<i64>,
    pub(crate) soa_min_ttl: Option<i64>,
}

impl Settings {
    /// Adds the files of a folder (`*.json`) in alphabetical order, or one file.
    ///
    /// # Errors
    /// [`ConfigError`] with the file and the place in it. What was read before stays merged.
    pub(crate) fn add_path(&mut self, path: &Path) -> Result<(), ConfigError> {
        if path.is_dir() { self.add_folder(path) } else { self.add_file(path) }
    }

    /// Adds the files of a folder; those that are neither `.json` nor `.hcl` are left alone, and so
    /// are pipes and the like, which need not end.
    ///
    /// # Errors
    /// As [`Settings::add_path`].
    pub(crate) fn add_folder(&mut self, dir: &Path) -> Result<(), ConfigError> {
        let unreadable = |e| ConfigError::Read { path: dir.to_owned(), cause: e };
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(dir).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let wanted = path.extension().is_some_and(|e| e == "json" || e == "hcl");
            let is_other = path.metadata().is_ok_and(|m| !m.is_file());
            if wanted && !is_other {
                files.push(path);
            }
        }
        files.sort();
        files.iter().try_for_each(|f| self.add_file(f))
    }

    /// Adds one file.
    ///
    /// # Errors
    /// As [`Settings::add_path`].
    pub(crate) fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        if path.extension().is_some_and(|e| e == "hcl") {
            return Err(ConfigError::Hcl { path: path.to_owned() });
        }
        let unreadable = |e| ConfigError::Read { path: path.to_owned(), cause: e };
        // Not asked for its size before: a device has none and need not end.
        let mut text = String::new();
        let mut file = fs::File::open(path).map_err(unreadable)?.take(MAX_FILE_BYTES + 1);
        if file.read_to_string(&mut text).map_err(unreadable)? as u64 > MAX_FILE_BYTES {
            return Err(ConfigError::TooLarge { path: path.to_owned(), most: MAX_FILE_BYTES });
        }
        self.add_json(path, &text)
    }

    /// Adds a document; `path` is for messages.
    ///
    /// # Errors
    /// As [`Settings::add_path`].
    pub(crate) fn add_json(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        match json::parse(text) {
            Ok(Tree::Object(entries)) => self.add_entries(path, "", entries),
            Ok(other) => Err(ConfigError::Type {
                path: path.to_owned(),
                key: "the whole file".into(),
                expected: "an object",
                found: other.kind(),
            }),
            Err(e) => Err(ConfigError::Syntax {
                path: path.to_owned(),
                line: e.line(),
                column: e.column(),
                // serde_json repeats the place at the end.
                what: e.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
            }),
        }
    }

    fn add_entries(
        &mut self,
        path: &Path,
        section: &str,
        entries: Vec<(String, Tree)>,
    ) -> Result<(), ConfigError> {
        for (name, value) in entries {
            let key = if section.is_empty() { name } else { format!("{section}.{name}") };
            let Some(target) = keys::find(&key) else {
                let near = text::closest(&key, keys::below(section)).map(String::from);
                return Err(ConfigError::UnknownKey { path: path.to_owned(), key, near });
            };
            match (target, value) {
                (Target::Section, Tree::Object(inner)) => self.add_entries(path, &key, inner)?,
                // As if it were not there.
                (_, Tree::Null) => {}
                (target, value) => self.add_value(path, key, target, value)?,
            }
        }
        Ok(())
    }

    fn add_value(
        &mut self,
        path: &Path,
        key: String,
        target: Target,
        value: Tree,
    ) -> Result<(), ConfigError> {
        let fault = |key: String, expected, found| {
            Err(ConfigError::Type { path: path.to_owned(), key, expected, found })
        };
        let wrong = |key, found| fault(key, target.expects(), found);
        match (target, value) {
            (Target::Bool(at), Tree::Bool(v)) => *at(self) = Some(v),
            (Target::Int(at), Tree::Int(v)) => *at(self) = Some(v),
            (Target::Text(at), Tree::Text(v)) => *at(self) = Some(v),
            (Target::Duration(at), Tree::Text(v)) => match keys::duration(&v) {
                Some(d) => *at(self) = Some(d),
                None => return wrong(key, "a string without a number and a unit"),
            },
            (Target::List(at), Tree::List(items)) => {
                for (i, item) in items.into_iter().enumerate() {
                    match item {
                        Tree::Text(v) => at(self).push(v),
                        other => return fault(format!("{key}[{i}]"), "a string", other.kind()),
                    }
                }
            }
            (Target::Map(at), Tree::Object(pairs)) => {
                for (k, v) in pairs {
                    match v {
                        Tree::Text(v) => set(at(self), k, v),
                        other => return fault(format!("{key}.{k}"), "a string", other.kind()),
                    }
                }
            }
            (Target::Honoured, _) => {}
            (Target::Ignored, _) => self.ignore(key),
            (_, other) => return wrong(key, other.kind()),
        }
        Ok(())
    }

    /// Adds what a flag says; `name` is for messages.
    ///
    /// # Errors
    /// [`ConfigError::Flag`]: not of the type that the key has.
    pub(crate) fn add_flag(
        &mut self,
        name: &'static str,
        key: &'static str,
        value: &str,
    ) -> Result<(), ConfigError> {
        let Some(target) = keys::find(key) else {
            return Err(ConfigError::Flag { name, value: value.into(), expected: "no such key" });
        };
        let expected =
            if matches!(target, Target::Map(_)) { "key:value" } else { target.expects() };
        let wrong = || ConfigError::Flag { name, value: value.into(), expected };
        match target {
            Target::Bool(at) => *at(self) = Some(value.parse().map_err(|_| wrong())?),
            Target::Int(at) => *at(self) = Some(value.parse().map_err(|_| wrong())?),
            Target::Text(at) => *at(self) = Some(value.to_owned()),
            Target::Duration(at) => *at(self) = Some(keys::duration(value).ok_or_else(wrong)?),
            Target::List(at) => at(self).push(value.to_owned()),
            Target::Map(at) => {
                let (k, v) = value.split_once(':').ok_or_else(wrong)?;
                set(at(self), k.to_owned(), v.to_owned());
            }
            Target::Ignored if value != "false" => self.ignore(format!("-{name}")),
            Target::Section | Target::Honoured | Target::Ignored => {}
        }
        Ok(())
    }

    fn ignore(&mut self, key: String) {
        if !self.ignored.contains(&key) {
            self.ignored.push(key);
        }
    }
}

fn set(map: &mut Vec<(String, String)>, key: String, value: String) {
    match map.iter_mut().find(|(k, _)| *k == key) {
        Some((_, old)) => *old = value,
        None => map.push((key, value)),
    }
}

#[cfg(test)]
mod tests;
