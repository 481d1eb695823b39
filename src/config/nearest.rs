//! The key or word that was probably meant.

/// The candidate that differs least from `typed`, if it differs little enough to be worth naming.
///
/// Case, `_` and `-` do not count as differences, so that names from other systems (`serviceType`) are found.
pub(crate) fn nearest<'a>(
    typed: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let typed = plain(typed);
    if typed.is_empty() || typed.len() > 64 {
        return None;
    }
    candidates
        .map(|candidate| (distance(&typed, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= tolerance(typed.len().max(candidate.len())))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Whether two names are the same but for case, `_` and `-`.
pub(crate) fn same(one: &str, other: &str) -> bool {
    characters(one).eq(characters(other))
}

fn plain(name: &str) -> Vec<char> {
    characters(name).collect()
}

fn characters(name: &str) -> impl Iterator<Item = char> {
    name.chars()
        .filter(|c| *c != '_' && *c != '-')
        .flat_map(char::to_lowercase)
}

fn tolerance(len: usize) -> usize {
    match len {
        0..=2 => 0,
        3..=5 => 1,
        6..=9 => 2,
        _ => 3,
    }
}

/// Insertions, deletions, replacements and swaps of neighbours between two texts.
fn distance(one: &[char], other: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let mut best = (cell(&last, j + 1) + 1).min(cell(&row, j) + 1);
            best = best.min(cell(&last, j) + usize::from(a != b));
            let swapped =
                i > 0 && j > 0 && one.get(i - 1) == Some(b) && other.get(j - 1) == Some(a);
            if swapped {
                best = best.min(cell(&before_last, j - 1) + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &[&str] = &["port", "bind", "protocol", "authentication", "service_type"];

    #[test]
    fn finds_what_was_meant() {
        for (typed, meant) in [
            ("prot", "port"),
            ("Port", "port"),
            ("binds", "bind"),
            ("protocoll", "protocol"),
            ("authentification", "authentication"),
            ("serviceType", "service_type"),
            ("service-type", "service_type"),
        ] {
            let found = nearest(typed, KEYS.iter().copied());
            assert_eq!(found, Some(meant), "{typed}");
        }
    }

    #[test]
    fn names_nothing_that_is_far_away() {
        for typed in ["", "x", "colour", "zebra", &"p".repeat(1000)] {
            assert_eq!(nearest(typed, KEYS.iter().copied()), None, "{typed}");
        }
    }

    #[test]
    fn distances() {
        let of = |a: &str, b: &str| distance(&plain(a), &plain(b));
        assert_eq!(of("abc", "abc"), 0);
        assert_eq!(of("abc", "acb"), 1);
        assert_eq!(of("abc", "ab"), 1);
        assert_eq!(of("", "abc"), 3);
        assert_eq!(of("kitten", "sitting"), 3);
    }
}
