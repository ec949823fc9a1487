//! Facts of the machine: what a bug may depend on, and no value of an environment variable.

use std::path::Path;

use serde_json::{Value, json};

use super::{Bundle, BundleError};
use crate::plan::Machine;
use crate::state::StateDir;

/// Adds `machine.json`: system, processors, memory, devices, disk, and the names of environment variables.
pub fn add_machine(
    bundle: &mut Bundle,
    dir: &StateDir,
    environment: &[(String, String)],
) -> Result<(), BundleError> {
    let machine = Machine::detect();
    let system = rustix::system::uname();
    let disk = rustix::fs::statvfs(dir.root()).ok();
    let mut names: Vec<&str> = environment.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let facts = json!({
        "cupola": env!("CARGO_PKG_VERSION"),
        "system": system.sysname().to_string_lossy(),
        "kernel": system.release().to_string_lossy(),
        "architecture": system.machine().to_string_lossy(),
        "distribution": field_of("/etc/os-release", "PRETTY_NAME", '='),
        "cores": machine.cores,
        "processor": field_of("/proc/cpuinfo", "model name", ':'),
        "fast_bf16": machine.cpu_bf16,
        "memory": field_of("/proc/meminfo", "MemTotal", ':'),
        "memory_available": field_of("/proc/meminfo", "MemAvailable", ':'),
        "cuda_devices": machine.devices,
        "cuda_driver": first_line("/proc/driver/nvidia/version"),
        "disk_free_bytes": disk.as_ref().map(|disk| disk.f_bavail * disk.f_frsize),
        "disk_size_bytes": disk.as_ref().map(|disk| disk.f_blocks * disk.f_frsize),
        "environment_names": names,
    });
    bundle
        .leave_out("values of environment variables", "they may be secrets; their names are in machine.json");
    bundle.add_json("machine.json", &facts)
}

/// The value of the first line of a file that begins with `name`; null where there is none.
fn field_of(path: &str, name: &str, separator: char) -> Value {
    let text = std::fs::read_to_string(Path::new(path)).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(separator));
    value.map_or(Value::Null, |(_, value)| value.trim().trim_matches('"').into())
}

fn first_line(path: &str) -> Value {
    let text = std::fs::read_to_string(Path::new(path)).unwrap_or_default();
    text.lines().next().map_or(Value::Null, Value::from)
}
