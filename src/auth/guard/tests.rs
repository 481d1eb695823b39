use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::*;
use crate::clock;
use crate::config::Network;

const DEVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 66));

fn settings() -> ProtectionSettings {
    ProtectionSettings {
        failures_per_address_max: 5,
        failures_per_username_max: 12,
        failure_window: Duration::from_secs(80),
        ban_time: Duration::from_secs(60),
        ban_time_max: Duration::from_secs(3600),
        ..ProtectionSettings::default()
    }
}

fn guard() -> (Guard, Instant) {
    (Guard::new(&settings()), clock::now())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn v4(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + number).into()
}

/// Fails until there is a ban and returns it with the number of tries.
fn fail_until_banned(guard: &Guard, address: IpAddr, username: &str, now: Instant) -> (u32, Ban) {
    for tries in 1..1000 {
        let consequence = guard.note_failure(Some(address), Some(username), now);
        if let [ban, ..] = consequence.bans.as_slice() {
            return (tries, ban.clone());
        }
    }
    panic!("no ban");
}

/// Bans a user name from many addresses, each of which fails too seldom to be banned itself.
fn ban_username(guard: &Guard, username: &str, now: Instant) {
    for number in 0..12 {
        let consequence = guard.note_failure(Some(v4(500 + number)), Some(username), now);
        assert_eq!(consequence.bans.len(), usize::from(number == 11));
    }
}

#[test]
fn an_address_is_banned_within_the_configured_tries_and_nobody_else() {
    let (guard, now) = guard();
    let (tries, ban) = fail_until_banned(&guard, ATTACKER, "press-1", now);
    assert_eq!(tries, 5);
    assert_eq!(ban.subject, BanSubject::Address(Prefix::of(ATTACKER)));
    assert_eq!(ban.until, now + seconds(60));
    assert!(guard.is_address_banned(ATTACKER, now));
    assert_eq!(guard.check(Some(ATTACKER), Some("other"), now), Err(ban));
    assert!(!guard.is_address_banned(DEVICE, now));
    assert_eq!(guard.check(Some(DEVICE), Some("press-1"), now), Ok(()));
    let end = now + seconds(60);
    assert!(guard.is_address_banned(ATTACKER, end - Duration::from_millis(1)));
    assert!(!guard.is_address_banned(ATTACKER, end));
    assert_eq!(guard.check(Some(ATTACKER), None, end), Ok(()));
}

#[test]
fn a_network_of_ipv6_is_one_address_and_a_mapped_address_is_the_address() {
    let (guard, now) = guard();
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    for last in 1..=5 {
        let address = address(&format!("2001:db8:1:2::{last}"));
        guard.note_failure(Some(address), None, now);
    }
    assert!(guard.is_address_banned(address("2001:db8:1:2:ffff::9"), now));
    assert!(!guard.is_address_banned(address("2001:db8:1:3::1"), now));
    fail_until_banned(&guard, address("::ffff:192.0.2.66"), "x", now);
    assert!(guard.is_address_banned(ATTACKER, now));
    let subjects: Vec<_> = guard
        .list(now)
        .iter()
        .map(|b| b.subject.to_string())
        .collect();
    assert_eq!(subjects, ["192.0.2.66", "2001:db8:1:2::/64"]);
}

#[test]
fn failures_are_forgotten_when_the_window_is_over_and_not_before() {
    let (guard, now) = guard();
    for _ in 0..4 {
        guard.note_failure(Some(ATTACKER), None, now);
    }
    let within = guard.note_failure(Some(v4(1)), None, now + seconds(79));
    assert!(within.bans.is_empty(), "another address");
    let (tries, _) = fail_until_banned(&guard, ATTACKER, "x", now + seconds(80));
    assert_eq!(tries, 1, "the first four still count");

    let (guard, now) = super::tests::guard();
    for _ in 0..4 {
        guard.note_failure(Some(ATTACKER), None, now);
    }
    let (tries, _) = fail_until_banned(&guard, ATTACKER, "x", now + seconds(91));
    assert_eq!(tries, 5, "the first four are forgotten");
}

#[test]
fn slow_failures_do_not_lead_to_a_ban() {
    let (guard, now) = guard();
    for number in 0..200 {
        let consequence = guard.note_failure(Some(ATTACKER), None, now + seconds(23) * number);
        assert!(consequence.bans.is_empty(), "{number}");
    }
}

#[test]
fn each_further_ban_is_twice_as_long_up_to_the_longest() {
    let (guard, mut now) = guard();
    let mut times = Vec::new();
    for _ in 0..9 {
        let (tries, ban) = fail_until_banned(&guard, ATTACKER, "x", now);
        assert_eq!(tries, 5);
        times.push(ban.until.duration_since(now).as_secs());
        now = ban.until;
    }
    assert_eq!(times, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
}

#[test]
fn bans_are_forgotten_one_by_one_in_quiet_times() {
    let (guard, mut now) = guard();
    for _ in 0..3 {
        now = fail_until_banned(&guard, ATTACKER, "x", now).1.until;
    }
    let later = now + seconds(2 * 3600);
    let (_, ban) = fail_until_banned(&guard, ATTACKER, "x", later);
    assert_eq!(ban.number, 2, "two of three are forgotten");
    let much_later = ban.until + seconds(24 * 3600);
    let (_, ban) = fail_until_banned(&guard, ATTACKER, "x", much_later);
    assert_eq!(ban.number, 1);
}

#[test]
fn a_device_is_not_locked_out_by_failures_under_its_name() {
    let (guard, now) = guard();
    assert_eq!(
        guard.note_success(Some(DEVICE), Some("press-1"), now),
        Ok(())
    );
    ban_username(&guard, "press-1", now);
    let refused = guard.check(Some(v4(9)), Some("press-1"), now).unwrap_err();
    assert_eq!(refused.subject, BanSubject::Username("press-1".into()));
    assert_eq!(guard.check(Some(DEVICE), Some("press-1"), now), Ok(()));
    assert_eq!(guard.check(Some(v4(9)), Some("press-2"), now), Ok(()));
    assert_eq!(guard.check(Some(v4(9)), None, now), Ok(()));
    assert!(
        guard.check(None, Some("press-1"), now).is_err(),
        "no address"
    );
    assert_eq!(guard.statistics(now).username_refusals, 2);
}

#[test]
fn only_the_newest_addresses_of_a_user_name_are_exempt() {
    let (guard, now) = guard();
    for number in 0..10 {
        let at = now + seconds(u64::from(number));
        assert_eq!(guard.note_success(Some(v4(number)), Some("a"), at), Ok(()));
    }
    ban_username(&guard, "a", now);
    let exempt: Vec<u32> = (0..10)
        .filter(|number| guard.check(Some(v4(*number)), Some("a"), now).is_ok())
        .collect();
    assert_eq!(exempt, [2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn networks_that_are_never_banned_are_not_and_ban_no_name() {
    let mut settings = settings();
    settings.never_banned = vec![Network {
        address: IpAddr::from([192, 0, 2, 0]),
        prefix: 24,
    }];
    let guard = Guard::new(&settings);
    let now = clock::now();
    for _ in 0..100 {
        let consequence = guard.note_failure(Some(ATTACKER), Some("press-1"), now);
        assert!(consequence.bans.is_empty());
        assert_eq!(consequence.delay, Duration::ZERO);
    }
    assert_eq!(guard.check(Some(v4(1)), Some("press-1"), now), Ok(()));
    ban_username(&guard, "press-1", now);
    assert_eq!(guard.check(Some(ATTACKER), Some("press-1"), now), Ok(()));
}

#[test]
fn many_tries_at_one_time_bring_no_more_than_tries_in_a_row() {
    let (guard, now) = guard();
    for _ in 0..100 {
        assert_eq!(guard.check(Some(ATTACKER), Some("a"), now), Ok(()));
    }
    fail_until_banned(&guard, ATTACKER, "a", now);
    for _ in 0..94 {
        let late = guard.note_failure(Some(ATTACKER), Some("a"), now);
        assert!(late.bans.iter().all(|ban| ban.number == 1));
    }
    assert!(
        guard.note_success(Some(ATTACKER), Some("a"), now).is_err(),
        "the right password comes too late"
    );
}

#[test]
fn refusals_are_held_back_longer_each_time_and_only_so_many_at_once() {
    let (guard, now) = guard();
    let delays: Vec<u128> = (0..5)
        .map(|_| guard.note_failure(Some(ATTACKER), None, now))
        .map(|consequence| consequence.delay.as_millis())
        .collect();
    assert_eq!(delays, [250, 500, 1000, 2000, 4000]);
    let at_once = (0..1000)
        .map(|number| guard.note_failure(Some(v4(number)), None, now))
        .filter(|consequence| consequence.delay.is_zero())
        .count();
    assert_eq!(at_once, 1000 - (DELAYED_MAX - 5));
    let statistics = guard.statistics(now);
    assert_eq!(statistics.delayed, DELAYED_MAX as u64);
    assert_eq!(statistics.undelayed, at_once as u64);
    let later = now + seconds(5);
    let again = guard.note_failure(Some(v4(5000)), None, later);
    assert_eq!(again.delay, FIRST_DELAY);
}

#[test]
fn a_ban_can_be_lifted_by_address_network_and_name() {
    let (guard, now) = guard();
    fail_until_banned(&guard, ATTACKER, "a", now);
    let v6: IpAddr = "2001:db8::1".parse().unwrap();
    fail_until_banned(&guard, v6, "b", now);
    ban_username(&guard, "press-1", now);
    assert_eq!(guard.list(now).len(), 3);
    assert!(guard.lift("192.0.2.67", now).is_empty());
    assert_eq!(guard.lift("192.0.2.66", now).len(), 1);
    assert_eq!(guard.lift("2001:db8::/64", now).len(), 1);
    assert_eq!(
        guard.lift("press-1", now),
        [BanSubject::Username("press-1".into())]
    );
    assert!(guard.list(now).is_empty());
    assert!(!guard.is_address_banned(ATTACKER, now));
    let (tries, ban) = fail_until_banned(&guard, ATTACKER, "a", now);
    assert_eq!((tries, ban.number), (5, 1), "it starts anew");
    assert_eq!(guard.statistics(now).lifted, 3);
}

#[test]
fn settings_change_under_way() {
    let (guard, now) = guard();
    fail_until_banned(&guard, ATTACKER, "a", now);
    fail_until_banned(&guard, DEVICE, "a", now);
    let mut changed = settings();
    changed.failures_per_address_max = 2;
    changed.never_banned = vec![Network {
        address: DEVICE,
        prefix: 32,
    }];
    guard.set(&changed, now);
    assert!(guard.is_address_banned(ATTACKER, now));
    assert!(!guard.is_address_banned(DEVICE, now));
    assert_eq!(fail_until_banned(&guard, v4(7), "b", now).0, 2);
    changed.failures_per_address_max = 0;
    guard.set(&changed, now);
    for _ in 0..50 {
        assert!(guard.note_failure(Some(v4(8)), None, now).bans.is_empty());
    }
}

#[test]
fn a_million_addresses_and_names_fill_no_memory_and_free_nobody() {
    let (guard, now) = guard();
    fail_until_banned(&guard, ATTACKER, "a", now);
    for number in 0..1_000_000_u32 {
        // Odd, so that no two are the same, and in no order.
        let network = u128::from(number.wrapping_mul(2_654_435_761));
        let address = Ipv6Addr::from_bits(network << 64 | 0x2001_0db8 << 96);
        let at = now + Duration::from_micros(u64::from(number));
        guard.note_failure(Some(address.into()), None, at);
    }
    let long = "n".repeat(USERNAME_BYTES_MAX - 10);
    for number in 0..20_000 {
        guard.note_failure(None, Some(&format!("{long}{number}{long}")), now);
    }
    {
        let state = guard.lock();
        assert_eq!(state.addresses.len(), ADDRESSES_MAX);
        assert_eq!(state.usernames.len(), USERNAMES_MAX);
        assert!(state.delayed.len() <= DELAYED_MAX);
    }
    assert!(guard.is_address_banned(ATTACKER, now + seconds(59)));
    assert!(guard.statistics(now).evicted >= 1_000_000 - ADDRESSES_MAX as u64);
}

#[test]
fn bans_leave_room_to_count_others() {
    let (guard, now) = guard();
    for number in 0..3 * ADDRESSES_MAX as u32 {
        fail_until_banned(
            &guard,
            v4(number),
            "",
            now + Duration::from_millis(u64::from(number)),
        );
    }
    let later = now + seconds(25);
    let state = guard.lock();
    assert_eq!(state.addresses.bans_len(), ADDRESSES_MAX / 4 * 3);
    assert!(state.addresses.len() <= ADDRESSES_MAX);
    drop(state);
    assert!(guard.is_address_banned(v4(3 * ADDRESSES_MAX as u32 - 1), later));
}

#[test]
fn logins_fill_no_memory() {
    let (guard, now) = guard();
    for number in 0..20_000 {
        let username = format!("user-{number}");
        let at = now + Duration::from_millis(number);
        assert_eq!(
            guard.note_success(Some(DEVICE), Some(&username), at),
            Ok(())
        );
    }
    let state = guard.lock();
    assert_eq!(state.known.usernames.len(), KNOWN_USERNAMES_MAX);
    assert_eq!(state.known.order.len(), KNOWN_USERNAMES_MAX);
    assert!(state.known.has("user-19999", Some(Prefix::of(DEVICE))));
    assert!(!state.known.has("user-0", Some(Prefix::of(DEVICE))));
}
