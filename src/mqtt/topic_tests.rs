use super::*;

#[test]
fn names() {
    for name in [
        "a",
        "/",
        "a/b",
        "//",
        "$SYS/x",
        "é/x",
        " ",
        "a b",
        "$share/x",
        "a/\u{FEFF}",
    ] {
        assert_eq!(check_name(name), Ok(()), "{name:?}");
    }
    for (name, fault) in [
        ("", TopicFault::Empty),
        ("+", TopicFault::NameHasWildcard),
        ("#", TopicFault::NameHasWildcard),
        ("a/+/b", TopicFault::NameHasWildcard),
        ("0123456789abcdef#", TopicFault::NameHasWildcard),
        ("0123456+89abcdef", TopicFault::NameHasWildcard),
        ("a\0", TopicFault::HasNul),
        ("01234567\089abcdef", TopicFault::HasNul),
    ] {
        assert_eq!(check_name(name), Err(fault), "{name:?}");
    }
    assert_eq!(check_name(&"a".repeat(65_536)), Err(TopicFault::TooLong));
    assert_eq!(check_name(&"a".repeat(65_535)), Ok(()));
}

#[test]
fn filters() {
    for filter in [
        "a",
        "/",
        "+",
        "#",
        "+/+",
        "a/#",
        "+/#",
        "/+",
        "a//b",
        "$SYS/#",
        "$share",
        "$share/g/#",
        "$share/g/+",
        "$share/g//",
        "$shared/x#y".trim_end_matches("#y"),
    ] {
        assert_eq!(check_filter(filter), Ok(()), "{filter:?}");
    }
    for (filter, fault) in [
        ("", TopicFault::Empty),
        ("a\0", TopicFault::HasNul),
        ("a#", TopicFault::MultiLevelWildcardNotAlone),
        ("#a", TopicFault::MultiLevelWildcardNotAlone),
        ("##", TopicFault::MultiLevelWildcardNotAlone),
        ("#/a", TopicFault::MultiLevelWildcardNotLast),
        ("#/", TopicFault::MultiLevelWildcardNotLast),
        ("a+", TopicFault::SingleLevelWildcardNotAlone),
        ("+a/b", TopicFault::SingleLevelWildcardNotAlone),
        ("a/++", TopicFault::SingleLevelWildcardNotAlone),
        ("$share/", TopicFault::ShareNameEmpty),
        ("$share//a", TopicFault::ShareNameEmpty),
        ("$share/g", TopicFault::ShareFilterMissing),
        ("$share/g/", TopicFault::ShareFilterMissing),
        ("$share/+/a", TopicFault::ShareNameHasWildcard),
        ("$share/g#/a", TopicFault::ShareNameHasWildcard),
        ("$share/g/a#", TopicFault::MultiLevelWildcardNotAlone),
    ] {
        assert_eq!(check_filter(filter), Err(fault), "{filter:?}");
    }
    assert_eq!(check_filter(&"a".repeat(65_536)), Err(TopicFault::TooLong));
}

#[test]
fn a_shared_filter_has_two_parts() {
    let filter = TopicFilter::parse("$share/group/a/+").expect("legal");
    assert_eq!(filter.share_name(), Some("group"));
    assert_eq!(filter.filter(), "a/+");
    assert_eq!(filter.as_str(), "$share/group/a/+");
    assert!(filter.has_wildcard());
    let filter = TopicFilter::parse("a/b").expect("legal");
    assert_eq!(filter.share_name(), None);
    assert_eq!(filter.filter(), "a/b");
    assert!(!filter.has_wildcard());
}

#[test]
fn matching() {
    for (filter, name, expected) in [
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        (
            "sport/tennis/player1/#",
            "sport/tennis/player1/ranking",
            true,
        ),
        (
            "sport/tennis/player1/#",
            "sport/tennis/player1/score/wimbledon",
            true,
        ),
        ("sport/#", "sport", true),
        ("#", "a/b", true),
        ("#", "/", true),
        ("sport/tennis/+", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("+", "finance", true),
        ("a/+/c", "a//c", true),
        ("a/b", "a/b/", false),
        ("a", "A", false),
        ("ACCOUNTS", "Accounts", false),
        ("a/#", "a/", true),
        ("a/#", "ab", false),
        ("+/#", "a", true),
        ("#", "$SYS/x", false),
        ("+/x", "$SYS/x", false),
        ("$SYS/#", "$SYS/x", true),
        ("$SYS/+", "$SYS/x", true),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
        ("a/#", "a/$x", true),
        ("a/+", "a/$x", true),
    ] {
        assert_eq!(matches(filter, name), expected, "{filter:?} {name:?}");
    }
}

#[test]
fn the_word_scan_finds_each_forbidden_byte_at_each_place() {
    for length in 0..40 {
        let clean: Vec<u8> = (0..length).map(|at| b'$' + at % 7).collect();
        let clean: Vec<u8> = clean
            .into_iter()
            .map(|b| if matches!(b, b'+' | b'#') { 0x80 } else { b })
            .collect();
        assert!(matches!(scan(&clean), Scan::Clean));
        for at in 0..clean.len() {
            for byte in 0..=255 {
                let mut bytes = clean.clone();
                bytes[at] = byte;
                let expected = match byte {
                    0 => "nul",
                    b'+' | b'#' => "wildcard",
                    _ => "clean",
                };
                let found = match scan(&bytes) {
                    Scan::Clean => "clean",
                    Scan::Nul => "nul",
                    Scan::Wildcard => "wildcard",
                };
                assert_eq!(found, expected, "byte {byte:#x} at {at} of {length}");
            }
        }
    }
}
