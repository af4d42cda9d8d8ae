//! The report of a run: one page that needs nothing but itself.
//!
//! The page holds the result as JSON and a script that draws it; nothing is fetched. What it shows can be
//! recomputed from the data that is in it.

use serde::Serialize;

const PAGE: &str = include_str!("page.html");
const COMPARISON: &str = include_str!("compare.html");

/// The page of a run called `title`.
///
/// # Errors
/// If the result has no form in JSON: a number that is none.
pub(crate) fn page(title: &str, result: &impl Serialize) -> Result<String, serde_json::Error> {
    fill(PAGE, title, result)
}

/// The page of two runs.
///
/// # Errors
/// As [`page`].
pub(crate) fn comparison(runs: &impl Serialize) -> Result<String, serde_json::Error> {
    fill(COMPARISON, "Two runs", runs)
}

fn fill(page: &str, title: &str, data: &impl Serialize) -> Result<String, serde_json::Error> {
    // In a script element only `</` and `<!--` mean something.
    let data = serde_json::to_string(data)?.replace('<', "\\u003c");
    Ok(page
        .replace("__TITLE__", &escaped(title))
        .replace("__DATA__", &data))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_cannot_end_the_script_that_it_is_embedded_in() {
        let page = page("a <b>", &"</script><script>alert(1)").unwrap();
        assert!(page.contains("\\u003c/script>\\u003cscript>alert(1)"));
        assert!(page.contains("<title>a &lt;b></title>"));
    }

    #[test]
    fn the_pages_fetch_nothing() {
        for word in [
            "http://",
            "https://",
            "src=",
            "@import",
            "fetch(",
            "XMLHttpRequest",
        ] {
            for page in [PAGE, COMPARISON] {
                let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
                assert!(!elsewhere.contains(word), "{word}");
            }
        }
    }
}
