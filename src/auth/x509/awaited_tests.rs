use super::UnfitReason;
use super::testing::{Ca, Site, day};
use crate::clock;

/// Found from outside: with a damaged list at the start a revoked certificate was let in.
#[test]
fn nobody_is_let_in_before_a_list_that_is_asked_for_was_read() {
    let root = Ca::root("Root");
    let site = Site::new(&[&root]);
    let trust = site.trust_of(&site.settings_with_lists());
    let (stolen, good) = (root.client("press-1"), root.client("press-2"));
    let reason = |chain: &[u8]| {
        let judged = trust.check([chain].into_iter(), day(2, 1));
        judged.err().map(|unfit| unfit.reason)
    };
    assert_eq!(reason(&good), Some(UnfitReason::NotLoaded));
    site.write("crl.pem", "nothing of the kind");
    trust.refresh_at(day(2, 1));
    assert_eq!(reason(&stolen), Some(UnfitReason::NotLoaded));
    assert!(!trust.summary(clock::wall()).faults.is_empty());

    site.write("crl.pem", &root.list(1, &[&stolen]));
    trust.refresh_at(day(2, 1));
    assert_eq!(reason(&stolen), Some(UnfitReason::Revoked));
    assert_eq!(reason(&good), None);
    site.write("crl.pem", "damaged under way");
    trust.refresh_at(day(2, 1));
    assert_eq!(reason(&stolen), Some(UnfitReason::Revoked));
    assert_eq!(reason(&good), None);
}
