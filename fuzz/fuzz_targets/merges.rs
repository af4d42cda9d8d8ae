//! See `dunlin_hostile::merges`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dunlin_hostile::merges(data));
