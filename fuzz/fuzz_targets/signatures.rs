#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| taskhook_fuzz::signatures::check(data));
