//! Any text as resources of the cluster broker: it is refused with a reason, or becomes a configuration that is taken, and
//! what is exported of that is understood again.
#![no_main]

use std::path::PathBuf;

use fieldgate::config;
use fieldgate::import::{AioOptions, ExportOptions, ImportFault, aio_texts, export_aio};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let import = |text: &str| {
        let file = (PathBuf::from("x.yaml"), text.to_owned().into());
        aio_texts(&[file], &AioOptions::default())
    };
    let done = match import(text) {
        Ok(done) => done,
        Err(ImportFault::NotUnderstood { report }) => {
            assert!(report.counts().bad > 0, "a refusal has a reason");
            return;
        }
        Err(_) => return,
    };
    assert_eq!(done.import.report.counts().bad, 0);
    // Without a listener it is a part of a configuration.
    let Ok(settings) = config::parse(&done.import.text) else {
        assert!(!done.import.text.contains("[[listener]]"));
        return;
    };
    let options = ExportOptions {
        namespace: "azure-iot-operations".to_owned(),
        issuer: "issuer".to_owned(),
        is_of_cluster: true,
    };
    let export = export_aio(&settings, &options);
    if !export.text.is_empty() {
        assert!(import(&export.text).is_ok(), "{}", export.text);
    }
});
