//! A clock that begins in 1970, jumps, and is set wrongly.

use super::*;

const BUILD: u64 = 1_800_000_000;
const YEAR: u64 = 365 * DAY;

fn time(floor: Option<u64>) -> TrustedTime {
    TrustedTime::with_build(BUILD, floor, 0)
}

fn trust(time: &mut TrustedTime, wall: u64, monotonic: u64) -> (u64, ClockTrust) {
    let reading = time.observe(wall, monotonic);
    (reading.now, reading.trust)
}

#[test]
fn time_of_the_build_is_read() {
    assert_eq!(seconds("1900000000", 5), 1_900_000_000);
    for odd in ["", "0", "315532800", "x", "-1", "99999999999999999999999"] {
        assert_eq!(seconds(odd, 1_800_000_000), 1_800_000_000, "{odd}");
    }
    const { assert!(BUILT >= WRITTEN) };
}

#[test]
fn clock_of_1970_is_behind_and_the_time_goes_on_from_the_build() {
    let mut clock = time(None);
    assert_eq!(trust(&mut clock, 10, 0), (BUILD, ClockTrust::Behind));
    assert_eq!(
        trust(&mut clock, 110, 100),
        (BUILD + 100, ClockTrust::Behind)
    );
    let saved = clock.to_save(HOUR, false).unwrap();
    assert_eq!(saved, BUILD + HOUR);
    // The next start goes on from there.
    let mut clock = time(Some(saved));
    assert_eq!(trust(&mut clock, 10, 0), (saved, ClockTrust::Behind));
}

#[test]
fn clock_that_is_set_is_believed_after_an_hour() {
    let mut clock = time(Some(BUILD + 100 * DAY));
    assert_eq!(clock.observe(10, 0).trust, ClockTrust::Behind);
    let today = BUILD + 200 * DAY;
    assert_eq!(trust(&mut clock, today, 60), (today, ClockTrust::New));
    let later = today + HOUR - 60;
    assert_eq!(trust(&mut clock, later, HOUR), (later, ClockTrust::New));
    assert_eq!(clock.least(HOUR), BUILD + 100 * DAY + HOUR, "not noted yet");
    let settled = today + HOUR;
    assert_eq!(
        trust(&mut clock, settled, HOUR + 60),
        (settled, ClockTrust::Settled)
    );
    assert_eq!(clock.least(HOUR + 60), settled);
}

#[test]
fn far_jump_is_believed_after_a_day() {
    let mut clock = time(Some(BUILD));
    let far = BUILD + 5 * YEAR;
    assert_eq!(trust(&mut clock, far, 0), (far, ClockTrust::New));
    assert_eq!(
        clock.observe(far + 2 * HOUR, 2 * HOUR).trust,
        ClockTrust::New
    );
    assert_eq!(clock.observe(far + DAY, DAY).trust, ClockTrust::Settled);
}

#[test]
fn jump_there_and_back_leaves_nothing_behind() {
    let mut clock = time(Some(BUILD));
    clock.observe(BUILD, 0);
    let today = BUILD + HOUR;
    assert_eq!(clock.observe(today, HOUR).trust, ClockTrust::Settled);
    let wrong = today + 30 * YEAR;
    assert_eq!(
        trust(&mut clock, wrong, HOUR + 60),
        (wrong, ClockTrust::New)
    );
    assert_eq!(clock.to_save(HOUR + 60, true), Some(today + 60));
    assert_eq!(
        trust(&mut clock, today + 120, HOUR + 120),
        (today + 120, ClockTrust::New)
    );
    assert_eq!(
        clock.observe(today + 2 * HOUR, 3 * HOUR).trust,
        ClockTrust::Settled
    );
}

#[test]
fn jump_back_is_behind_and_the_time_goes_on() {
    let mut clock = time(Some(BUILD + YEAR));
    clock.observe(BUILD + YEAR, 0);
    clock.observe(BUILD + YEAR + HOUR, HOUR);
    let back = BUILD + DAY;
    let least = BUILD + YEAR + 2 * HOUR;
    assert_eq!(
        trust(&mut clock, back, 2 * HOUR),
        (least, ClockTrust::Behind)
    );
    // A little is no jump.
    let near = least + HOUR - 60;
    assert_eq!(
        trust(&mut clock, near, 3 * HOUR),
        (least + HOUR, ClockTrust::New)
    );
}

#[test]
fn time_in_which_no_program_runs_is_not_believed() {
    let mut clock = time(Some(BUILD));
    let reading = clock.observe(BUILD + AGE_MAX + 1, 0);
    assert_eq!((reading.now, reading.trust), (BUILD, ClockTrust::Behind));
}

#[test]
fn last_time_seen_is_noted_once_an_hour_and_at_a_stop() {
    let mut clock = time(Some(BUILD));
    assert_eq!(clock.to_save(HOUR - 1, false), None);
    assert_eq!(clock.to_save(10, true), Some(BUILD + 10));
    let floor = clock.to_save(HOUR, false).unwrap();
    clock.saved(floor);
    assert_eq!(clock.to_save(2 * HOUR - 1, false), None);
    assert_eq!(clock.to_save(HOUR, true), None, "nothing new");
}

#[test]
fn certificates_are_judged_by_what_can_be_known() {
    let now = BUILD + YEAR;
    let reading = |trust| Reading {
        now,
        trust,
        least: now,
    };
    for trust in [ClockTrust::Behind, ClockTrust::New, ClockTrust::Settled] {
        assert_eq!(reading(trust).judging_at(now - YEAR), now);
        assert_eq!(reading(trust).judging_at(now + DAY), now + DAY);
    }
    let later = now + YEAR;
    assert_eq!(reading(ClockTrust::Behind).judging_at(later), later);
    assert_eq!(
        reading(ClockTrust::Settled).judging_at(later),
        now + BACKDATE
    );
}

#[test]
fn certificates_begin_earlier_and_end_with_their_issuer() {
    let now = BUILD + YEAR;
    let issuer = Validity {
        not_before: BUILD,
        not_after: now + 50 * DAY,
    };
    let (validity, provisional) = Reading::settled(now).validity(30 * DAY, issuer);
    let expected = Validity {
        not_before: now - BACKDATE,
        not_after: now + 30 * DAY,
    };
    assert_eq!((validity, provisional), (expected, false));
    let (validity, _) = Reading::settled(now).validity(90 * DAY, issuer);
    assert_eq!(validity.not_after, issuer.not_after);
    let (validity, _) = Reading::settled(BUILD + 60).validity(DAY, issuer);
    assert_eq!(validity.not_before, BUILD);
    let behind = Reading {
        now: BUILD,
        trust: ClockTrust::Behind,
        least: 0,
    };
    assert_eq!(behind.validity(DAY, issuer), (issuer, true));
}

#[test]
fn clock_keeps_its_note_beside_the_authority() {
    let state = tempfile::tempdir().unwrap();
    let clock = TrustedClock::open(state.path(), None);
    clock.keep(true).unwrap();
    assert!(!state.path().join("ca").exists(), "no authority, no note");
    std::fs::create_dir(state.path().join("ca")).unwrap();
    clock.keep(true).unwrap();
    assert!(!state.path().join("ca/floor").exists(), "still none");
    std::fs::write(state.path().join("ca/state.json"), "{}").unwrap();
    clock.keep(true).unwrap();
    let text = std::fs::read_to_string(state.path().join("ca/floor")).unwrap();
    let noted: u64 = text.trim().parse().unwrap();
    assert!(noted >= BUILT);
    std::fs::write(state.path().join("ca/floor"), "x").unwrap();
    let newest = clock::wall_seconds() + 30 * DAY;
    let reading = TrustedClock::open(state.path(), Some(newest)).read();
    assert_eq!(reading.trust, ClockTrust::Behind);
    assert!(reading.now >= newest);
    assert!(TrustedClock::unkept().read().is_plausible());
}
