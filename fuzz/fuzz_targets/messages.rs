//! See `dunlin_hostile::messages`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dunlin_hostile::messages(data));
