//! See `dunlin_hostile::values`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dunlin_hostile::values(data));
