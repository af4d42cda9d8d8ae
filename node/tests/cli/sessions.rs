//! Commands that belong together: what they have seen goes from one to the next in a file.

use crate::dunlin::Dev;

pub(crate) fn what_a_session_saw_is_kept_in_its_file(dev: &Dev) {
    dev.bucket("sessions", "register");
    let file = dev.dir().join("session");
    let token = || std::fs::read(&file).unwrap();
    dev.line("put sessions k first --w one --session session")
        .ended(0);
    let after_put = token();
    assert_eq!(
        dev.line("get sessions k --r one --session session")
            .ended(0)
            .text(),
        "first"
    );
    dev.line("put sessions other value --session session")
        .ended(0);
    let after_both = token();
    assert_ne!(after_put, after_both, "the second put is not in it");

    // A command that is refused leaves what was seen before.
    dev.line("get sessions missing --session session").ended(1);
    assert!(token().len() >= after_both.len());
    assert!(!dev.dir().join("session.new").exists());
}

pub(crate) fn a_file_that_is_no_session_is_refused_and_left_alone(dev: &Dev) {
    dev.bucket("tokens", "register");
    let notes = dev.file("notes", "do not lose me");
    let refused = dev.line("put tokens k value --session notes");
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.err.contains("notes"), "{refused:?}");
    assert!(refused.err.contains("name another file"), "{refused:?}");
    assert_eq!(std::fs::read(notes).unwrap(), b"do not lose me");
    dev.line("get tokens k").ended(1);
}
