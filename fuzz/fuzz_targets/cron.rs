#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| taskhook_fuzz::cron::check(data));
