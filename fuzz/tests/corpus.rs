//! The short form of fuzzing: each target over its corpus, and over mutations of it that are the same in every run.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use taskhook_fuzz::TARGETS;

/// Mutations of each target, if there is time.
const MUTATIONS: u64 = 20_000;

/// When a target has had enough.
const TIME: Duration = Duration::from_secs(8);

/// What stands in the texts of every target, for mutations to put in.
const PIECES: [&[u8]; 16] = [
    b"\0",
    b"\n",
    b"\xff",
    b"\xf0\x9f\x92\xa9",
    b"\\u0000",
    b"[",
    b"{",
    b"(",
    b"\"",
    b"'",
    b",",
    b":",
    b"/",
    b"%",
    b"-1",
    b"18446744073709551616",
];

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap_or(0)
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let texts: Vec<Vec<u8>> =
        files.iter().map(|file| fs::read(file).expect("a file of the corpus")).collect();
    assert!(texts.len() >= 3, "{target} has too little to begin with");
    texts
}

fn mutated(draw: &mut Draw, texts: &[Vec<u8>]) -> Vec<u8> {
    let mut text = texts[draw.below(texts.len())].clone();
    for _ in 0..=draw.below(4) {
        let at = draw.below(text.len() + 1);
        match draw.below(6) {
            0 if at < text.len() => text[at] ^= 1 << draw.below(8),
            1 if at < text.len() => drop(text.remove(at)),
            2 => text.truncate(at),
            3 => drop(text.splice(at..at, PIECES[draw.below(PIECES.len())].iter().copied())),
            4 => {
                let other = &texts[draw.below(texts.len())];
                let from = draw.below(other.len() + 1);
                text.splice(at.., other[from..].iter().copied());
            }
            _ => {
                let end = (at + 1 + draw.below(16)).min(text.len());
                let piece = text[at.min(end)..end].to_vec();
                text.splice(at.min(end)..at.min(end), piece);
            }
        }
    }
    text
}

fn run(name: &str) {
    let (_, check) = TARGETS.iter().find(|(target, _)| *target == name).expect("a target");
    let texts = corpus(name);
    texts.iter().for_each(|text| check(text));
    let began = Instant::now();
    for seed in 0..MUTATIONS {
        if began.elapsed() > TIME {
            break;
        }
        let text = mutated(&mut Draw(seed), &texts);
        if std::panic::catch_unwind(|| check(&text)).is_err() {
            panic!(
                "{name} does not hold for {:?}: add it to the corpus, then mend",
                String::from_utf8_lossy(&text)
            );
        }
    }
}

macro_rules! targets {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn every_target_is_run() {
            let run = [$(stringify!($name)),*];
            assert!(TARGETS.iter().map(|(name, _)| *name).eq(run), "a target without a test");
        }
    };
}

targets!(addresses, config, cron, cursors, expressions, json, signatures, urls);
