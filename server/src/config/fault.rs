//! What is wrong with the settings, and where it stands.

use std::fmt;

/// Where a setting was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: the default.
    Default,
    /// In a file: its path, the line and the column, counted from 1.
    File(String, usize, usize),
    /// A file as a whole.
    Whole(String),
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands.
    pub place: Place,
    /// What is wrong, and what to do about it.
    pub text: String,
}

/// Everything that is wrong with the settings; printed one to a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Place {
    /// Whether it is a place in a file, where a value has a type.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self, Place::File(..) | Place::Whole(_))
    }

    /// By which faults are sorted: as they stand in the file, then the others.
    pub(super) fn position(&self) -> (usize, usize) {
        match self {
            Place::Whole(_) => (0, 0),
            Place::File(_, line, column) => (*line, *column),
            Place::Default | Place::Variable(_) | Place::Flag(_) => (usize::MAX, 0),
        }
    }
}

impl Fault {
    /// A fault at a place.
    #[must_use]
    pub fn new(place: Place, text: String) -> Fault {
        Fault { place, text }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Default => write!(f, "default"),
            Place::File(path, line, column) => write!(f, "{path}:{line}:{column}"),
            Place::Whole(path) => write!(f, "{path}"),
            Place::Variable(name) => write!(f, "{name}"),
            Place::Flag(flag) => write!(f, "{flag}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// The one of `known` that was probably meant by `unknown`.
#[must_use]
pub fn did_you_mean<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = unknown.chars().count().max(3) / 3;
    known
        .into_iter()
        .map(|candidate| (edits(unknown, candidate), candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be changed, added, left out or swapped with their neighbour to get from one to the other.
fn edits(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i; to.len() + 1];
        for j in 1..=to.len() {
            let change = usize::from(from[i - 1] != to[j - 1]);
            row[j] = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                row[j] = row[j].min(rows[i - 2][j - 2] + 1);
            }
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let known = ["listen", "public_url", "store"];
        assert_eq!(did_you_mean("lisetn", known), Some("listen"));
        assert_eq!(did_you_mean("publicurl", known), Some("public_url"));
        assert_eq!(did_you_mean("database", known), None);
        assert_eq!(did_you_mean("x", known), None);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("ab", "ba"), 1);
    }
}
