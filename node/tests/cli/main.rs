//! The `dunlin` binary as its users run it: commands, exit codes, output.
//!
//! One cluster of real processes serves most claims, since starting it is what takes time; each claim has
//! buckets of its own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod claims;
mod dunlin;
mod growth;
mod outage;
mod real_data;
mod sessions;
mod transfer;
mod usage;

use dunlin::Dev;

#[test]
fn a_cluster_serves_every_command() {
    let dev = Dev::start(3);
    claims::every_kind_is_written_read_and_deleted(&dev);
    claims::siblings_are_shown_and_settled_by_the_command_that_is_shown(&dev);
    claims::maps_hold_fields_of_every_kind(&dev);
    claims::bytes_that_are_no_text_come_back(&dev);
    claims::what_is_wrong_is_refused_with_its_exit_code(&dev);
    sessions::what_a_session_saw_is_kept_in_its_file(&dev);
    sessions::a_file_that_is_no_session_is_refused_and_left_alone(&dev);
    transfer::an_import_writes_good_lines_and_names_bad_ones(&dev);
    transfer::lines_that_add_to_one_set_fail_one_by_one(&dev);
    transfer::lines_of_one_key_are_written_in_their_order(&dev);
    transfer::every_kind_goes_through_an_export_unchanged(&dev);
    transfer::a_reader_that_goes_away_is_no_error(&dev);
    outage::a_killed_node_is_shown_and_missed_and_catches_up(&dev);
    outage::a_disk_put_back_from_a_backup_is_recognised_and_refilled(&dev);
    outage::a_bit_that_flips_in_a_table_is_found_and_healed(&dev);
    growth::certificates_are_made_and_never_overwritten(&dev);
    growth::nothing_is_added_where_no_cluster_runs(&dev);
    growth::a_cluster_grows_and_shrinks_by_a_node(&dev);
    dev.stop();
}
