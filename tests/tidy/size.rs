//! A file has at most 600 lines and a function at most 70.

use super::Fault;
use super::source::{SourceFile, Tree, block_end, is_word, line_of, words};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// The load generator is a tool older than the rule, and what it measures must not change with its form.
const EXEMPT: &str = "benches/mqttload";

pub(crate) fn check(_: &Tree, file: &SourceFile) -> Vec<Fault> {
    if !file.is_rust() || file.path.starts_with(EXEMPT) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        let text = format!("{lines} lines; a file has at most {FILE_LINES_MAX}");
        faults.push(Fault::new(&file.path, lines, text));
    }
    for (name, line, lines) in functions(&file.code) {
        if lines > FUNCTION_LINES_MAX {
            let text =
                format!("`{name}` has {lines} lines; a function has at most {FUNCTION_LINES_MAX}");
            faults.push(Fault::new(&file.path, line, text));
        }
    }
    faults
}

/// Name, first line and number of lines of every function that has a body.
fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for offset in words(code, "fn") {
        let rest = code[offset + 2..].trim_start();
        let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
        if name.is_empty() {
            continue;
        }
        let Some(open) = body(code, offset) else {
            continue;
        };
        let first = line_of(code, offset);
        let last = line_of(code, block_end(code, open) - 1);
        found.push((name, first, last - first + 1));
    }
    found
}

/// The brace that opens the body of the function whose signature begins at `offset`.
fn body(code: &str, offset: usize) -> Option<usize> {
    let mut depth = 0;
    for (index, byte) in code.bytes().enumerate().skip(offset) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(index),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> usize {
        Tree::of(&[("src/x.rs", text)]).each(check).len()
    }

    #[test]
    fn long_files_and_functions_are_faults() {
        assert_eq!(faults(&"mod a;\n".repeat(600)), 0);
        assert_eq!(faults(&"mod a;\n".repeat(601)), 1);
        let function = |lines: usize| {
            format!(
                "fn f(a: [u8; 4]) -> u8 {{\n{}}}\n",
                "g();\n".repeat(lines - 2)
            )
        };
        assert_eq!(faults(&function(70)), 0);
        assert_eq!(faults(&function(71)), 1);
        assert_eq!(
            faults(&format!(
                "trait T {{ fn f(); }}\n{}",
                "mod a;\n".repeat(100)
            )),
            0
        );
    }
}
