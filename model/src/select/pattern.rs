//! Wildcards in pool names: the grammar of Go's `filepath.Match`, which upstream documents and users write.

use std::iter::Peekable;
use std::str::Chars;

/// A text with wildcards: `*` any run, `?` any one character, `[a-c]` and `[^a-c]` one of a set, `\` takes the next
/// character as it is. As in Go, the first two do not match `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Part>,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The text ends in a backslash.
    #[error("it ends in a backslash, which must stand before a character")]
    Escape,
    /// A set of characters does not end, is empty or has half a range.
    #[error("'[' begins a set of characters that is empty, does not end in ']' or has half a range")]
    Set,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Run,
    One,
    Exactly(char),
    Among(Vec<(char, char)>),
    NotAmong(Vec<(char, char)>),
}

impl Pattern {
    /// Returns whether a pool name has a character that only a wildcard can have.
    #[must_use]
    pub fn is_in(name: &str) -> bool {
        name.contains(['*', '?', '[', ']', '\\'])
    }

    /// Reads a pattern.
    ///
    /// # Errors
    /// When Go would call it a bad pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut parts = Vec::new();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            parts.push(match c {
                '*' => Part::Run,
                '?' => Part::One,
                '[' => set(&mut rest)?,
                '\\' => Part::Exactly(rest.next().ok_or(PatternError::Escape)?),
                c => Part::Exactly(c),
            });
        }
        Ok(Self { parts })
    }

    /// Returns whether the whole name matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut part, mut at) = (0, 0);
        // Where to go on when the last run has to take one character more: the classic walk without recursion, so that
        // no text of many stars takes exponential time.
        let mut run: Option<(usize, usize)> = None;
        loop {
            match (self.parts.get(part), name.get(at)) {
                (None, None) => return true,
                (Some(Part::Run), _) => {
                    run = Some((part, at));
                    part += 1;
                    continue;
                }
                (Some(one), Some(&c)) if one.takes(c) => {
                    (part, at) = (part + 1, at + 1);
                    continue;
                }
                _ => {}
            }
            let Some((star, from)) = run else { return false };
            if name.get(from).is_none_or(|&c| c == '/') {
                return false;
            }
            run = Some((star, from + 1));
            (part, at) = (star + 1, from + 1);
        }
    }
}

impl Part {
    fn takes(&self, c: char) -> bool {
        let among = |ranges: &[(char, char)]| ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
        match self {
            Self::Run => false,
            Self::One => c != '/',
            Self::Exactly(own) => *own == c,
            Self::Among(ranges) => among(ranges),
            Self::NotAmong(ranges) => !among(ranges),
        }
    }
}

fn set(rest: &mut Peekable<Chars<'_>>) -> Result<Part, PatternError> {
    let negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && rest.next_if_eq(&']').is_some() {
            return Ok(if negated { Part::NotAmong(ranges) } else { Part::Among(ranges) });
        }
        let low = end(rest)?;
        let high = if rest.next_if_eq(&'-').is_some() { end(rest)? } else { low };
        ranges.push((low, high));
    }
}

/// One end of a range; what has a meaning of its own inside a set must be escaped.
fn end(rest: &mut Peekable<Chars<'_>>) -> Result<char, PatternError> {
    match rest.next().ok_or(PatternError::Set)? {
        '-' | ']' => Err(PatternError::Set),
        '\\' => rest.next().ok_or(PatternError::Set),
        c => Ok(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, read aloud: slow, and obviously right.
    fn defined(parts: &[Part], name: &[char]) -> bool {
        match (parts, name) {
            ([], []) => true,
            ([Part::Run, rest @ ..], name) => {
                defined(rest, name) || name.first().is_some_and(|c| *c != '/' && defined(parts, &name[1..]))
            }
            ([one, rest @ ..], [c, more @ ..]) => one.takes(*c) && defined(rest, more),
            _ => false,
        }
    }

    /// Every name that Go 1.26 lets each pattern match, `None` where it calls the pattern bad: its own answers.
    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn patterns_match_what_go_lets_them_match() {
        const NAMES: [&str; 25] = [
            "",
            "a",
            "b",
            "ab",
            "abc",
            "axbxc",
            "x",
            "pool-1",
            "pool-12",
            "ax",
            "dx",
            "!",
            "]",
            "-",
            "^",
            "*",
            "a]",
            "v4-n1-eth0",
            "v4-eth0",
            "a/b",
            "ac/b",
            "x/b",
            "z9",
            "été",
            "é",
        ];
        let go: &[(&str, Option<&[&str]>)] = &[
            ("", Some(&[""])),
            ("a", Some(&["a"])),
            (
                "*",
                Some(&[
                    "",
                    "a",
                    "b",
                    "ab",
                    "abc",
                    "axbxc",
                    "x",
                    "pool-1",
                    "pool-12",
                    "ax",
                    "dx",
                    "!",
                    "]",
                    "-",
                    "^",
                    "*",
                    "a]",
                    "v4-n1-eth0",
                    "v4-eth0",
                    "z9",
                    "été",
                    "é",
                ]),
            ),
            ("a*", Some(&["a", "ab", "abc", "axbxc", "ax", "a]"])),
            ("*a", Some(&["a"])),
            ("a*b*c", Some(&["abc", "axbxc"])),
            ("?", Some(&["a", "b", "x", "!", "]", "-", "^", "*", "é"])),
            ("??", Some(&["ab", "ax", "dx", "a]", "z9"])),
            ("pool-?", Some(&["pool-1"])),
            ("[abc]", Some(&["a", "b"])),
            ("[a-c]x", Some(&["ax"])),
            ("[^a-c]x", Some(&["dx"])),
            ("[!a]", Some(&["a", "!"])),
            ("[]a]", None),
            ("[-a]", None),
            ("[a-]", None),
            ("[a", None),
            ("[", None),
            ("[^]", None),
            ("[^", None),
            (r"\", None),
            (r"\*", Some(&["*"])),
            (r"a\", None),
            (r"[\]]", Some(&["]"])),
            (r"[\-x]", Some(&["x", "-"])),
            (r"[x\-]", Some(&["x", "-"])),
            ("[a-", None),
            ("[c-a]", Some(&[])),
            ("]", Some(&["]"])),
            ("a]", Some(&["a]"])),
            ("*[0-9]", Some(&["pool-1", "pool-12", "v4-n1-eth0", "v4-eth0", "z9"])),
            ("[a-b-c]", None),
            ("[^^]", Some(&["a", "b", "x", "!", "]", "-", "*", "é"])),
            ("[a^]", Some(&["a", "^"])),
            ("v4-*-eth[01]", Some(&["v4-n1-eth0"])),
            ("a?/b", Some(&["ac/b"])),
            ("*/b", Some(&["a/b", "ac/b", "x/b"])),
            ("[^a]/b", Some(&["x/b"])),
            ("-", Some(&["-"])),
            ("[]", None),
            (r"[\", None),
            (r"*\", None),
            ("a[", None),
            ("x*[", None),
            (
                "**",
                Some(&[
                    "",
                    "a",
                    "b",
                    "ab",
                    "abc",
                    "axbxc",
                    "x",
                    "pool-1",
                    "pool-12",
                    "ax",
                    "dx",
                    "!",
                    "]",
                    "-",
                    "^",
                    "*",
                    "a]",
                    "v4-n1-eth0",
                    "v4-eth0",
                    "z9",
                    "été",
                    "é",
                ]),
            ),
            ("[a][b]", Some(&["ab"])),
            (
                "?*",
                Some(&[
                    "a",
                    "b",
                    "ab",
                    "abc",
                    "axbxc",
                    "x",
                    "pool-1",
                    "pool-12",
                    "ax",
                    "dx",
                    "!",
                    "]",
                    "-",
                    "^",
                    "*",
                    "a]",
                    "v4-n1-eth0",
                    "v4-eth0",
                    "z9",
                    "été",
                    "é",
                ]),
            ),
            ("é*", Some(&["été", "é"])),
            ("[à-ü]", Some(&["é"])),
        ];
        for (text, matching) in go {
            let ours = Pattern::parse(text)
                .ok()
                .map(|pattern| NAMES.into_iter().filter(|name| pattern.matches(name)).collect::<Vec<_>>());
            assert_eq!(ours.as_deref(), *matching, "{text:?}");
        }
    }

    #[test]
    fn stars_by_the_dozen_take_no_time() {
        let pattern = Pattern::parse(&"*a".repeat(60)).unwrap();
        assert!(!pattern.matches(&"a".repeat(59)));
        assert!(pattern.matches(&"ba".repeat(60)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_never_panics(text in any::<String>(), name in any::<String>()) {
            if let Ok(pattern) = Pattern::parse(&text) {
                let _ = pattern.matches(&name);
            }
        }

        #[test]
        fn a_text_without_wildcards_matches_itself_only(text in "[a-z0-9.-]{0,8}", other in "[a-z0-9.-]{0,8}") {
            prop_assert!(!Pattern::is_in(&text));
            prop_assert_eq!(Pattern::parse(&text).unwrap().matches(&other), text == other);
        }

        #[test]
        fn matching_is_as_defined(text in r"([*?ab/]|\[\^?[ab-]{1,3}\]|\\[*ab]){0,7}", name in "[ab*/-]{0,8}") {
            if let Ok(pattern) = Pattern::parse(&text) {
                let name_chars: Vec<char> = name.chars().collect();
                prop_assert_eq!(pattern.matches(&name), defined(&pattern.parts, &name_chars));
            }
        }

        #[test]
        fn an_escaped_text_matches_itself(text in any::<String>()) {
            let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert!(Pattern::parse(&escaped).unwrap().matches(&text));
        }
    }
}
