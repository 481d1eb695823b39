//! Addresses, as a port or the admin server accepts on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::source::quoted;
use super::tree::Value;
use super::value::{Complaint, text};

/// An IP address to accept on; `None` is every address.
pub(super) fn bind(value: &Value) -> Result<Option<IpAddr>, Complaint> {
    const TAKES: &str = "an IP address";
    let typed = text(value, TAKES).map_err(|complaint| match value {
        Value::Text(_) | Value::List(_) => complaint,
        _ => complaint.hint("write it in quotes: \"192.0.2.7\", or whichever it is"),
    })?;
    let typed = typed.trim();
    if typed == "*" {
        return Ok(None);
    }
    if let Ok(address) = typed.parse::<IpAddr>() {
        return usable(address).map(Some);
    }
    let complaint = Complaint::bad(format!("takes {TAKES}, not {}", quoted(typed)));
    if let Some((host @ ("*" | "localhost" | ""), number)) = typed.rsplit_once(':')
        && number.parse::<u16>().is_ok()
    {
        let host = if host == "localhost" {
            "127.0.0.1"
        } else {
            "*"
        };
        return Err(complaint.hint(format!("write \"{host}\", and the number as `port`")));
    }
    if let Ok(address) = typed.parse::<SocketAddr>() {
        let hint = format!("write \"{}\", and the number as `port`", address.ip());
        return Err(complaint.hint(hint));
    }
    if let Some((address, rest)) = typed.split_once(['/', '%'])
        && address.parse::<IpAddr>().is_ok()
    {
        let hint = match typed.contains('%') {
            true => format!("write \"{address}\", and interface = {}", quoted(rest)),
            false => format!("write the address of this machine, without /{rest}"),
        };
        return Err(complaint.hint(hint));
    }
    Err(complaint.maybe_hint(address_hint(typed)))
}

fn address_hint(typed: &str) -> Option<String> {
    let unbracketed = typed.trim_start_matches('[').trim_end_matches(']');
    let lower = typed.to_ascii_lowercase();
    if lower == "localhost" {
        return Some("write \"127.0.0.1\"".to_owned());
    }
    if lower == "all" || lower == "any" || typed.is_empty() {
        return Some("write \"*\" for every address".to_owned());
    }
    if unbracketed != typed && unbracketed.parse::<Ipv6Addr>().is_ok() {
        return Some(format!("write \"{unbracketed}\", without brackets"));
    }
    if typed.split('.').count() == 4 && typed.split('.').all(|part| part.parse::<u64>().is_ok()) {
        return Some("each of the four numbers is at most 255".to_owned());
    }
    const INTERFACES: &[&str] = &["eth", "en", "wl", "br", "wwan", "usb", "tun", "bond", "lo"];
    if INTERFACES.iter().any(|i| lower.starts_with(i)) && !typed.contains('.') {
        return Some(format!(
            "for a network interface write interface = {}",
            quoted(typed)
        ));
    }
    if typed.chars().any(|c| c.is_ascii_alphabetic()) && !typed.contains(':') {
        return Some("a host name is not looked up here: write its address".to_owned());
    }
    None
}

/// Refuses addresses that no socket can accept on.
fn usable(address: IpAddr) -> Result<IpAddr, Complaint> {
    let refused = |what: &str| {
        Err(Complaint::bad(format!(
            "takes an address to accept on, and {address} is {what}"
        )))
    };
    match address {
        IpAddr::V4(v4) if v4.is_multicast() => refused("a multicast address"),
        IpAddr::V4(Ipv4Addr::BROADCAST) => refused("the broadcast address"),
        IpAddr::V6(v6) if v6.is_multicast() => refused("a multicast address"),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => Err(
                Complaint::bad("is an IPv4 address in the form of an IPv6 one")
                    .hint(format!("write \"{v4}\"")),
            ),
            None => Ok(address),
        },
        IpAddr::V4(_) => Ok(address),
    }
}

/// An address with a port number; `None` is `"off"`.
pub(super) fn socket_address(value: &Value) -> Result<Option<SocketAddr>, Complaint> {
    const TAKES: &str = "an address with a port, such as \"127.0.0.1:9600\", or \"off\"";
    let typed = match value {
        Value::Text(text) => text.trim(),
        Value::Switch(false) => {
            return Err(Complaint::wrong_type(TAKES, value).hint("write \"off\""));
        }
        Value::Integer {
            number: Some(port @ 1..=65_535),
            ..
        } => {
            let hint =
                format!("write \"127.0.0.1:{port}\", or \"0.0.0.0:{port}\" for every address");
            return Err(Complaint::wrong_type(TAKES, value).hint(hint));
        }
        _ => return Err(Complaint::wrong_type(TAKES, value)),
    };
    if typed.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    if let Ok(address) = typed.parse::<SocketAddr>() {
        usable(address.ip())?;
        return Ok(Some(address));
    }
    let complaint = Complaint::bad(format!("takes {TAKES}, not {}", quoted(typed)));
    Err(complaint.maybe_hint(socket_address_hint(typed)))
}

fn socket_address_hint(typed: &str) -> Option<String> {
    let with_port = |address: &str| match address.contains(':') {
        true => format!("write \"[{address}]:9600\""),
        false => format!("write \"{address}:9600\""),
    };
    if typed.parse::<IpAddr>().is_ok() {
        return Some(with_port(typed));
    }
    if let Ok(port) = typed.trim_start_matches(':').parse::<u16>() {
        return Some(format!("write \"127.0.0.1:{port}\""));
    }
    let (host, port) = typed.rsplit_once(':').unwrap_or((typed, "9600"));
    let Ok(port) = port.parse::<u16>() else {
        return match port.parse::<u64>() {
            Ok(_) => Some("a port number is at most 65535".to_owned()),
            Err(_) => None,
        };
    };
    match host.to_ascii_lowercase().as_str() {
        "localhost" => Some(format!("write \"127.0.0.1:{port}\"")),
        "*" => Some(format!("write \"0.0.0.0:{port}\", or \"[::]:{port}\"")),
        "none" | "false" | "disabled" | "no" => Some("write \"off\"".to_owned()),
        host if host.parse::<Ipv6Addr>().is_ok() => Some(format!("write \"[{host}]:{port}\"")),
        _ => Some("a host name is not looked up here: write its address".to_owned()),
    }
}
