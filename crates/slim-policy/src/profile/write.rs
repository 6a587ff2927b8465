//! Profile → JSON as Docker's engine takes it.

use super::{Action, Argument, Operator, Rule, SeccompProfile};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What calls of one rule have in common: action, comment, comparisons.
type Key<'a> = (&'a Action, Option<&'a str>, &'a BTreeSet<Argument>);

impl SeccompProfile {
    /// The profile as JSON, ending in a line feed: one rule for all calls with the same action, comparisons and comment.
    /// Equal profiles give equal bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut groups: BTreeMap<Key<'_>, Vec<&str>> = BTreeMap::new();
        for (call, rules) in &self.calls {
            for Rule { action, arguments, comment } in rules {
                groups.entry((action, comment.as_deref(), arguments)).or_default().push(call);
            }
        }
        let rules: Vec<Value> = groups.into_iter().map(|(rule, names)| written(rule, &names)).collect();
        let mut document = Map::new();
        insert_action(&mut document, "defaultAction", "defaultErrnoRet", &self.default);
        let (native, below) = self.architectures.split_first().map_or((None, &[][..]), |(a, b)| (Some(a), b));
        document.insert("archMap".to_owned(), json!([{ "architecture": native, "subArchitectures": below }]));
        document.insert("syscalls".to_owned(), Value::Array(rules));
        format!("{:#}\n", Value::Object(document)).into_bytes()
    }
}

fn written((action, comment, arguments): Key<'_>, names: &[&str]) -> Value {
    let mut rule = Map::new();
    rule.insert("names".to_owned(), json!(names));
    insert_action(&mut rule, "action", "errnoRet", action);
    if !arguments.is_empty() {
        let arguments: Vec<Value> = arguments.iter().map(written_argument).collect();
        rule.insert("args".to_owned(), Value::Array(arguments));
    }
    rule.insert("comment".to_owned(), json!(comment.unwrap_or_default()));
    Value::Object(rule)
}

/// EPERM is what the engine takes where nothing is said.
fn insert_action(into: &mut Map<String, Value>, name: &str, errno_name: &str, action: &Action) {
    let text = match action {
        Action::Allow => "SCMP_ACT_ALLOW",
        Action::Log => "SCMP_ACT_LOG",
        Action::Errno(_) => "SCMP_ACT_ERRNO",
        Action::Notify => "SCMP_ACT_NOTIFY",
        Action::Trap => "SCMP_ACT_TRAP",
        Action::KillThread => "SCMP_ACT_KILL_THREAD",
        Action::KillProcess => "SCMP_ACT_KILL_PROCESS",
    };
    into.insert(name.to_owned(), json!(text));
    if let Action::Errno(number @ (0 | 2..)) = action {
        into.insert(errno_name.to_owned(), json!(number));
    }
}

fn written_argument(argument: &Argument) -> Value {
    let operator = match argument.operator {
        Operator::NotEqual => "SCMP_CMP_NE",
        Operator::Less => "SCMP_CMP_LT",
        Operator::LessOrEqual => "SCMP_CMP_LE",
        Operator::Equal => "SCMP_CMP_EQ",
        Operator::GreaterOrEqual => "SCMP_CMP_GE",
        Operator::Greater => "SCMP_CMP_GT",
        Operator::MaskedEqual => "SCMP_CMP_MASKED_EQ",
    };
    json!({ "index": argument.index, "value": argument.value, "valueTwo": argument.second, "op": operator })
}
