//! `/v1/agent/host`: what the agent runs on. What cannot be found out is named in `Errors`.

use std::{fs, path::Path, time::Duration};

use serde::Serialize;

use crate::http::{
    agent::{go_arch, go_os},
    metrics::since_epoch,
};

/// All sizes in bytes.
#[derive(Debug, Default, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Memory {
    total: u64,
    available: u64,
    used: u64,
    used_percent: f64,
    free: u64,
}

#[derive(Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Cpu {
    cpu: u32,
    vendor_id: String,
    model_name: String,
    mhz: f64,
}

/// Times in seconds; `boot_time` since 1970.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Host {
    hostname: String,
    uptime: u64,
    boot_time: u64,
    os: &'static str,
    kernel_version: String,
    kernel_arch: String,
    arch: &'static str,
}

/// All sizes in bytes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Disk {
    path: String,
    total: u64,
    free: u64,
    used: u64,
    used_percent: f64,
}

/// The whole answer.
#[derive(Debug, Serialize)]
pub(crate) struct HostInfo {
    #[serde(rename = "Memory")]
    memory: Memory,
    #[serde(rename = "CPU")]
    cpu: Vec<Cpu>,
    #[serde(rename = "Host")]
    host: Host,
    #[serde(rename = "Disk")]
    disk: Option<Disk>,
    /// Nanoseconds since 1970.
    #[serde(rename = "CollectionTime")]
    collection_time: u64,
    #[serde(rename = "Errors")]
    errors: Option<Vec<String>>,
}

impl HostInfo {
    /// Asks the system; reads small files of the kernel and one file system's totals.
    pub(crate) fn collect(data_dir: Option<&Path>) -> Self {
        let mut errors = Vec::new();
        let mut read = |path: &str| {
            fs::read_to_string(path).unwrap_or_else(|e| {
                errors.push(format!("{path}: {e}"));
                String::new()
            })
        };
        let memory = parse_meminfo(&read("/proc/meminfo"));
        let cpu = parse_cpuinfo(&read("/proc/cpuinfo"));
        let uptime = parse_uptime(&read("/proc/uptime"));
        let disk = data_dir.and_then(|dir| match rustix::fs::statvfs(dir) {
            Ok(s) => Some(disk_of(dir, s.f_blocks, s.f_bfree, s.f_bavail, s.f_frsize)),
            Err(e) => {
                errors.push(format!("{}: {e}", dir.display()));
                None
            }
        });
        let now = since_epoch();
        Self {
            memory,
            cpu,
            host: host(now, uptime),
            disk,
            collection_time: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
            errors: (!errors.is_empty()).then_some(errors),
        }
    }
}

fn host(now: Duration, uptime_s: u64) -> Host {
    let uname = rustix::system::uname();
    let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
    Host {
        hostname: text(uname.nodename()),
        uptime: uptime_s,
        boot_time: now.as_secs().saturating_sub(uptime_s),
        os: go_os(std::env::consts::OS),
        kernel_version: text(uname.release()),
        kernel_arch: text(uname.machine()),
        arch: go_arch(std::env::consts::ARCH),
    }
}

fn percent(used: u64, total: u64) -> f64 {
    if total == 0 { 0.0 } else { used as f64 * 100.0 / total as f64 }
}

fn disk_of(path: &Path, blocks: u64, free: u64, available: u64, block_bytes: u64) -> Disk {
    let used = blocks.saturating_sub(free);
    let bytes = |n: u64| n.saturating_mul(block_bytes);
    Disk {
        path: path.display().to_string(),
        total: bytes(blocks),
        free: bytes(available),
        used: bytes(used),
        used_percent: percent(used, used.saturating_add(available)),
    }
}

/// `MemTotal:  123 kB` lines.
fn parse_meminfo(text: &str) -> Memory {
    let bytes = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
        let number = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
        number.unwrap_or(0).saturating_mul(1024)
    };
    let (total, available) = (bytes("MemTotal"), bytes("MemAvailable"));
    let used = total.saturating_sub(available);
    Memory { total, available, used, used_percent: percent(used, total), free: bytes("MemFree") }
}

/// `key : value` lines, a block per CPU.
fn parse_cpuinfo(text: &str) -> Vec<Cpu> {
    let mut out: Vec<Cpu> = Vec::new();
    for (key, value) in text.lines().filter_map(|l| l.split_once(':')) {
        let value = value.trim();
        if key.trim() == "processor" {
            let cpu = value.parse().unwrap_or(0);
            out.push(Cpu { cpu, vendor_id: String::new(), model_name: String::new(), mhz: 0.0 });
        }
        let Some(last) = out.last_mut() else { continue };
        match key.trim() {
            "vendor_id" => last.vendor_id = value.to_owned(),
            "model name" => last.model_name = value.to_owned(),
            "cpu MHz" => last.mhz = value.parse().unwrap_or(0.0),
            _ => {}
        }
    }
    out
}

/// Whole seconds from `12345.67 89.01`.
fn parse_uptime(text: &str) -> u64 {
    text.split(['.', ' ']).next().and_then(|s| s.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_files_are_read() {
        let m = parse_meminfo("MemTotal:  1000 kB\nMemFree: 100 kB\nMemAvailable:   250 kB\n");
        let want = Memory {
            total: 1_024_000,
            available: 256_000,
            used: 768_000,
            used_percent: 75.0,
            free: 102_400,
        };
        assert_eq!(m, want);
        assert_eq!(parse_meminfo("MemTotal: x kB\nMemFree"), Memory::default());
        let cpus = parse_cpuinfo(
            "processor : 0\nvendor_id : V\nmodel name : M 1\ncpu MHz : 2.5\n\nprocessor: 1\n",
        );
        assert_eq!((cpus.len(), cpus[1].cpu), (2, 1));
        assert_eq!((cpus[0].vendor_id.as_str(), cpus[0].model_name.as_str()), ("V", "M 1"));
        assert_eq!(parse_uptime("12345.67 8.9\n"), 12345);
        assert_eq!(parse_uptime(""), 0);
    }

    #[test]
    fn a_missing_directory_is_an_error_entry() {
        let info = HostInfo::collect(Some(Path::new("/no/such/dir")));
        assert!(info.disk.is_none());
        assert!(info.errors.unwrap().iter().any(|e| e.starts_with("/no/such/dir: ")));
        let here = HostInfo::collect(Some(Path::new("/")));
        assert!(here.disk.unwrap().total > 0);
    }
}
