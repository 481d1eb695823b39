//! What the process uses and may use.

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, rlim_t, setrlimit};
use tracing::{debug, warn};

use crate::admin::ProcessReport;
use crate::limits::REFUSALS_ANSWERED_MAX;

/// Descriptors besides those of clients: ports, files, control socket, runtime, and connections that are refused.
const DESCRIPTORS_OF_OURS: u64 = 64 + REFUSALS_ANSWERED_MAX as u64;

/// Raises the bound of open descriptors as far as this process may, and says so when that is not enough.
pub(crate) fn raise_descriptors(connections_max: u32) {
    let wanted = u64::from(connections_max) + DESCRIPTORS_OF_OURS;
    // Of 32 bits on some machines, where the longest stands for any number.
    let wanted = rlim_t::try_from(wanted).unwrap_or(rlim_t::MAX);
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => return debug!(%error, "cannot read the limit of open descriptors"),
    };
    let raised = wanted.min(hard).max(soft);
    if raised > soft
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, raised, hard)
    {
        debug!(%error, "cannot raise the limit of open descriptors");
    }
    let allowed = getrlimit(Resource::RLIMIT_NOFILE).map_or(soft, |(soft, _)| soft);
    if allowed < wanted {
        warn!(
            descriptors_max = allowed,
            connections_max, "fewer descriptors may be open than limits.connections_max asks for"
        );
    }
}

/// What the process uses now; what cannot be read is zero.
#[expect(clippy::useless_conversion, reason = "the types differ by platform")]
pub(crate) fn usage() -> ProcessReport {
    ProcessReport {
        resident_bytes: resident_bytes().unwrap_or(0),
        cpu_seconds: cpu_seconds().unwrap_or(0.0),
        descriptors: descriptors().unwrap_or(0),
        descriptors_max: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft.into()),
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn cpu_seconds() -> Option<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Some(seconds(usage.user_time()) + seconds(usage.system_time()))
}

fn descriptors() -> Option<u64> {
    // One of them is the folder that is being read.
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(open).ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let usage = usage();
        assert!(usage.resident_bytes > 100 * 1024);
        assert!(usage.descriptors >= 3);
        assert!(usage.descriptors_max >= usage.descriptors);
    }
}
