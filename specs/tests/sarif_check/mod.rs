//! What SARIF 2.1.0 (OASIS standard, 2020, section 3) demands of the objects that we write: their properties and no others, which
//! of them are required, and the values that they may have.

use serde_json::Value;

/// An object of the standard: its name, required properties, other properties that we may use.
struct Object {
    name: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
}

const LOG: Object = Object { name: "sarifLog", required: &["version", "runs"], optional: &["$schema"] };
const RUN: Object =
    Object { name: "run", required: &["tool"], optional: &["results", "columnKind", "artifacts"] };
const TOOL: Object = Object { name: "tool", required: &["driver"], optional: &["extensions"] };
const DRIVER: Object = Object {
    name: "toolComponent",
    required: &["name"],
    optional: &["version", "semanticVersion", "informationUri", "rules"],
};
const RULE: Object = Object {
    name: "reportingDescriptor",
    required: &["id"],
    optional: &["name", "shortDescription", "fullDescription", "help", "helpUri", "defaultConfiguration"],
};
const MULTIFORMAT: Object =
    Object { name: "multiformatMessageString", required: &["text"], optional: &["markdown"] };
const CONFIGURATION: Object =
    Object { name: "reportingConfiguration", required: &[], optional: &["enabled", "level", "rank"] };
const RESULT: Object = Object {
    name: "result",
    required: &["message"],
    optional: &["ruleId", "ruleIndex", "level", "locations", "relatedLocations"],
};
const MESSAGE: Object = Object { name: "message", required: &["text"], optional: &["markdown"] };
const LOCATION: Object = Object {
    name: "location",
    required: &[],
    optional: &["id", "physicalLocation", "logicalLocations", "message"],
};
const PHYSICAL: Object =
    Object { name: "physicalLocation", required: &["artifactLocation"], optional: &["region"] };
const ARTIFACT: Object = Object { name: "artifactLocation", required: &["uri"], optional: &["uriBaseId"] };
const REGION: Object = Object {
    name: "region",
    required: &["startLine"],
    optional: &["startColumn", "endLine", "endColumn", "snippet"],
};
const SNIPPET: Object = Object { name: "artifactContent", required: &["text"], optional: &[] };
const LOGICAL: Object =
    Object { name: "logicalLocation", required: &[], optional: &["name", "fullyQualifiedName", "kind"] };

const LEVELS: &[&str] = &["none", "note", "warning", "error"];
const COLUMN_KINDS: &[&str] = &["utf16CodeUnits", "unicodeCodePoints"];

/// Everything that is wrong with a log.
pub(crate) fn check(log: &Value) -> Vec<String> {
    let mut problems = Problems(Vec::new());
    problems.object(log, &LOG);
    problems.demand(log["version"] == "2.1.0", "the version is not 2.1.0");
    problems.demand(log["runs"].is_array(), "runs is not an array");
    for run in items(&log["runs"]) {
        problems.object(run, &RUN);
        problems.one_of(&run["columnKind"], COLUMN_KINDS);
        problems.object(&run["tool"], &TOOL);
        let driver = &run["tool"]["driver"];
        problems.object(driver, &DRIVER);
        problems.demand(driver["name"].is_string(), "the driver has no name");
        let mut ids = std::collections::HashSet::new();
        for rule in items(&driver["rules"]) {
            problems.rule(rule);
            problems.demand(ids.insert(rule["id"].clone()), "two rules have one id");
        }
        for result in items(&run["results"]) {
            problems.result(result, &driver["rules"]);
        }
    }
    problems.0
}

struct Problems(Vec<String>);

impl Problems {
    fn demand(&mut self, holds: bool, problem: &str) {
        if !holds {
            self.0.push(problem.to_owned());
        }
    }

    /// An object with its required properties and none that the standard does not know there.
    fn object(&mut self, value: &Value, kind: &Object) {
        let Some(object) = value.as_object() else {
            self.0.push(format!("{} is not an object: {value}", kind.name));
            return;
        };
        for name in kind.required {
            self.demand(
                object.get(*name).is_some_and(|value| !value.is_null()),
                &format!("{} lacks {name}", kind.name),
            );
        }
        for name in object.keys() {
            let is_known = kind.required.contains(&name.as_str()) || kind.optional.contains(&name.as_str());
            self.demand(is_known, &format!("{} has no property {name}", kind.name));
        }
    }

    fn one_of(&mut self, value: &Value, words: &[&str]) {
        self.demand(
            value.as_str().is_some_and(|word| words.contains(&word)),
            &format!("{value} is none of {words:?}"),
        );
    }

    fn text(&mut self, value: &Value, kind: &Object) {
        self.object(value, kind);
        self.demand(value["text"].as_str().is_some_and(|text| !text.is_empty()), "a message is empty");
    }

    fn rule(&mut self, rule: &Value) {
        self.object(rule, &RULE);
        for field in ["shortDescription", "fullDescription", "help"] {
            self.text(&rule[field], &MULTIFORMAT);
        }
        self.object(&rule["defaultConfiguration"], &CONFIGURATION);
        self.one_of(&rule["defaultConfiguration"]["level"], LEVELS);
    }

    fn result(&mut self, result: &Value, rules: &Value) {
        self.object(result, &RESULT);
        self.text(&result["message"], &MESSAGE);
        self.one_of(&result["level"], LEVELS);
        let index = result["ruleIndex"].as_u64().unwrap_or(u64::MAX) as usize;
        self.demand(rules[index]["id"] == result["ruleId"], "ruleIndex is not that of ruleId");
        self.demand(!items(&result["locations"]).is_empty(), "a result has no location");
        for location in items(&result["locations"]) {
            self.location(location);
        }
        let mut ids = std::collections::HashSet::new();
        for location in items(&result["relatedLocations"]) {
            self.location(location);
            self.text(&location["message"], &MESSAGE);
            self.demand(
                location["id"].as_u64().is_some_and(|id| ids.insert(id)),
                "a related location has no id of its own",
            );
        }
    }

    fn location(&mut self, location: &Value) {
        self.object(location, &LOCATION);
        for logical in items(&location["logicalLocations"]) {
            self.object(logical, &LOGICAL);
        }
        let physical = &location["physicalLocation"];
        if physical.is_null() {
            return;
        }
        self.object(physical, &PHYSICAL);
        self.object(&physical["artifactLocation"], &ARTIFACT);
        let uri = physical["artifactLocation"]["uri"].as_str().unwrap_or_default();
        let is_uri = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c);
        self.demand(!uri.is_empty() && uri.chars().all(is_uri), "a uri is none");
        let region = &physical["region"];
        self.object(region, &REGION);
        let number = |name: &str| region[name].as_u64().unwrap_or(0);
        self.demand(
            number("startLine") >= 1 && number("startColumn") >= 1,
            "a region starts before the text",
        );
        self.demand(number("endLine") >= number("startLine"), "a region ends above its start");
        let is_forward =
            number("endLine") > number("startLine") || number("endColumn") >= number("startColumn");
        self.demand(is_forward, "a region ends before its start");
        if !region["snippet"].is_null() {
            self.object(&region["snippet"], &SNIPPET);
        }
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
