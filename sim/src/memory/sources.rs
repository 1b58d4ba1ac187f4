//! Sources: what deciding about one needs, and what it leaves.

use taskhook_core::{Decided, SourceKey, Subjects};

use super::data::Data;

impl Data {
    /// The source under this key, as this transaction knows it, and how many there are.
    pub(super) fn load_source(&self, key: SourceKey, subjects: &mut Subjects) {
        if !subjects.has_loaded_source(key) {
            subjects.put_source(key, self.sources.get(&key).cloned());
            subjects.put_sources_count(self.sources.len());
        }
    }

    /// What has become of sources.
    pub(super) fn save_sources(&mut self, decided: &[Decided], subjects: &Subjects) {
        for (key, _) in decided.iter().flat_map(|one| &one.decision.sources) {
            match subjects.source(*key) {
                Some(source) => self.sources.put(*key, source.clone()),
                None => self.sources.remove(key),
            };
        }
    }
}
