//! The plans that come with the program.

use super::plan::Plan;

const PLANS: [&str; 12] = [
    include_str!("../../plans/majority-minority.toml"),
    include_str!("../../plans/isolated-node.toml"),
    include_str!("../../plans/one-way-cut.toml"),
    include_str!("../../plans/flapping-link.toml"),
    include_str!("../../plans/slow-node.toml"),
    include_str!("../../plans/rolling-restart.toml"),
    include_str!("../../plans/double-failure.toml"),
    include_str!("../../plans/zone-loss.toml"),
    include_str!("../../plans/join-under-load.toml"),
    include_str!("../../plans/split-during-layout-change.toml"),
    include_str!("../../plans/sibling-storm.toml"),
    include_str!("../../plans/lww-skewed-clocks.toml"),
];

/// The text of the plan of this name.
pub(crate) fn text(name: &str) -> Option<&'static str> {
    let is_it = |text: &&str| Plan::parse(text).is_ok_and(|plan| plan.name == name);
    PLANS.into_iter().find(is_it)
}

/// All plans, with what they show.
pub(crate) fn list() -> String {
    let plans = PLANS.iter().filter_map(|text| Plan::parse(text).ok());
    let lines: Vec<String> = plans
        .map(|plan| {
            let seconds = plan.length().as_secs_f64();
            format!("{} ({seconds:.0} s)\n    {}\n", plan.name, plan.about)
        })
        .collect();
    format!(
        "The plans that come with this program; a plan of your own is given as a file.\n\n{}",
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_is_sound_and_found_by_its_name() {
        for plan in PLANS {
            let parsed = Plan::parse(plan).unwrap();
            assert_eq!(text(&parsed.name), Some(plan));
            assert!(!parsed.about.is_empty());
        }
    }
}
