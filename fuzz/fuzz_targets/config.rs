//! Any text as a configuration: it is understood, or the report can be read and points into the text.
#![no_main]

use fieldgate::config::{self, Paint};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Err(report) = config::parse(text) else {
        return;
    };
    assert!(report.errors().next().is_some(), "a refusal has a reason");
    let lines = text.lines().count();
    for fault in &report.faults {
        if let Some(place) = &fault.place {
            assert!(place.line <= lines + 1, "line {} of {lines}", place.line);
        }
    }
    let plain = report.render(Paint::Plain);
    assert!(!plain.contains('\u{1b}'), "a report is safe to print");
    report.render(Paint::Colour);
});
