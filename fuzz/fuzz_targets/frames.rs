//! See `dunlin_hostile::frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dunlin_hostile::frames(data));
