//! The fields of a [`RunSpec`](crate::RunSpec) as data, from the JSON schema of its types: flags, form, documentation
//! and TypeScript types are generated from them.

use schemars::{Schema, schema_for};
use serde::Serialize;
use serde_json::Value;

use crate::RunSpec;

/// One field of a spec.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Field {
    /// Path in the spec: `train.steps`.
    pub path: String,
    /// The method or selector that has the field; none where every spec has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The field's docstring.
    pub description: String,
    /// The value where the field is absent; none where there is no fixed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Smallest value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    /// Largest value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<f64>,
    /// The names that the field takes, if it is a choice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
}

/// One name that a field takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// The name in the spec.
    pub name: String,
    /// Its docstring.
    pub description: String,
}

/// The JSON schema of a spec.
pub fn schema() -> Schema {
    schema_for!(RunSpec)
}

/// Every field of a spec, in the order of the types.
pub fn fields() -> Vec<Field> {
    let root = schema().to_value();
    let mut fields = Vec::new();
    collect(&root, &root, "", None, &mut fields);
    fields
}

/// The description of the field at `path`; empty if there is none.
pub fn description(path: &str) -> String {
    let found = fields().into_iter().find(|field| field.path == path);
    found.map(|field| field.description).unwrap_or_default()
}

/// Adds the fields of an object, or of each object of a tagged enum.
fn collect(
    root: &Value,
    object: &Value,
    path: &str,
    variant: Option<&str>,
    fields: &mut Vec<Field>,
) {
    for (name, schema) in object["properties"].as_object().into_iter().flatten() {
        let tag = schema.get("const").is_some() && variant.is_some();
        if tag {
            continue;
        }
        let path = match path {
            "" => name.clone(),
            parent => format!("{parent}.{name}"),
        };
        let target = resolve(root, schema);
        let is_object = target.get("properties").is_some();
        let variants = variants(target);
        if !is_object || !variants.is_empty() {
            fields.push(field(&path, variant, schema, target));
        }
        if is_object {
            collect(root, target, &path, variant, fields);
        }
        for (name, object) in variants {
            collect(root, object, &path, Some(&name), fields);
        }
    }
}

fn field(path: &str, variant: Option<&str>, schema: &Value, target: &Value) -> Field {
    let text = |value: &Value| {
        let text = value["description"].as_str().unwrap_or_default();
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        without_links(&line)
    };
    let own = text(schema);
    let choices = target["oneOf"].as_array().into_iter().flatten();
    let choices = choices.flat_map(|choice| {
        let names = match (choice["const"].as_str(), choice["enum"].as_array()) {
            (Some(name), _) => vec![name],
            (None, Some(names)) => names.iter().filter_map(Value::as_str).collect(),
            (None, None) => tag(choice).into_iter().collect(),
        };
        let description = text(choice);
        names.into_iter().map(move |name| Choice {
            name: name.to_owned(),
            description: description.clone(),
        })
    });
    let default = schema.get("default").filter(|value| !value.is_null());
    Field {
        path: path.to_owned(),
        variant: variant.map(str::to_owned),
        description: if own.is_empty() { text(target) } else { own },
        default: default.cloned(),
        minimum: schema["minimum"].as_f64().filter(|least| *least != 0.0),
        maximum: schema["maximum"].as_f64(),
        choices: choices.collect(),
    }
}

/// A docstring's links as code: ``[`Part`](crate::Part)`` is `Part`.
fn without_links(text: &str) -> String {
    let link = regex_lite::Regex::new(r"\[(`[^`]+`)\](\([^)]*\))?");
    link.map_or_else(
        |_| text.into(),
        |link| link.replace_all(text, "$1").into_owned(),
    )
}

/// The schema that a reference points to, also that of an optional field.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let optional = schema["anyOf"].as_array();
    let optional = optional.and_then(|any| any.iter().find(|one| one.get("$ref").is_some()));
    let reference = optional.unwrap_or(schema)["$ref"].as_str();
    let target = reference.and_then(|path| root.pointer(path.trim_start_matches('#')));
    target.unwrap_or(schema)
}

/// The objects of a tagged enum by their tag.
fn variants(schema: &Value) -> Vec<(String, &Value)> {
    let objects = schema["oneOf"].as_array().into_iter().flatten();
    objects
        .filter_map(|object| Some((tag(object)?.to_owned(), object)))
        .collect()
}

/// The tag of one object of a tagged enum.
fn tag(object: &Value) -> Option<&str> {
    let properties = object["properties"].as_object()?;
    properties
        .values()
        .find_map(|value| value["const"].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_described() {
        let fields = fields();
        assert!(fields.len() > 60, "{}", fields.len());
        for field in fields {
            assert!(!field.description.is_empty(), "{field:?}");
            for choice in &field.choices {
                assert!(!choice.description.is_empty(), "{}: {choice:?}", field.path);
            }
        }
    }

    #[test]
    fn a_field_has_its_default_its_bounds_and_its_choices() {
        let fields = fields();
        let at = |path: &str| fields.iter().find(|field| field.path == path).unwrap();
        assert_eq!(at("train.steps").default, Some(500.into()));
        assert_eq!(at("train.steps").minimum, Some(1.0));
        assert_eq!(at("optimizer.epsilon").maximum, Some(1.0));
        let names = |path: &str| -> Vec<String> {
            let choices = at(path).choices.iter();
            choices.map(|choice| choice.name.clone()).collect()
        };
        assert_eq!(names("head.pooling"), ["mean", "first", "pooler"]);
        assert_eq!(names("objective"), ["class_head", "label_words"]);
        assert!(names("method").contains(&"lora".into()));
        assert_eq!(at("method.rank").variant.as_deref(), Some("lora"));
    }

    #[test]
    fn a_default_is_what_an_absent_field_means() {
        let plain = RunSpec::new("m", "t");
        let spec = serde_json::to_value(&plain).unwrap();
        let mut checked = 0;
        for field in fields() {
            let (None, Some(default)) = (&field.variant, field.default) else {
                continue;
            };
            let mut spec = spec.clone();
            let path = format!("/{}", field.path.replace('.', "/"));
            match spec.pointer_mut(&path) {
                Some(value) => assert_eq!(*value, default, "{path}"),
                None => {
                    let (parent, name) = path.rsplit_once('/').unwrap();
                    spec.pointer_mut(parent).unwrap()[name] = default;
                    assert_eq!(
                        RunSpec::from_json(&spec.to_string()).unwrap(),
                        plain,
                        "{path}"
                    );
                }
            }
            checked += 1;
        }
        assert!(checked >= 25, "{checked}");
    }

    /// The schema's bounds are those that [`RunSpec::check`] enforces.
    #[test]
    fn the_bounds_of_the_schema_are_those_of_the_check() {
        let spec = serde_json::to_value(RunSpec::new("m", "t")).unwrap();
        let accepts = |path: &str, value: Value| -> bool {
            let mut spec = spec.clone();
            let (parent, name) = path.split_once('.').unwrap();
            spec[parent][name] = value;
            RunSpec::from_json(&spec.to_string()).is_ok()
        };
        let bounded = fields().into_iter().filter(|field| field.variant.is_none());
        let mut checked = 0;
        for field in bounded {
            let whole = |x: f64| match field.default.as_ref().is_some_and(Value::is_f64) {
                true => Value::from(x),
                false => Value::from(x as u64),
            };
            if let Some(least) = field.minimum {
                assert!(accepts(&field.path, whole(least)), "{field:?}");
                assert!(!accepts(&field.path, whole(least - 1.0)), "{field:?}");
                checked += 1;
            }
            if let Some(most) = field.maximum {
                assert!(accepts(&field.path, whole(most)), "{field:?}");
                assert!(!accepts(&field.path, whole(most + 1.0)), "{field:?}");
                checked += 1;
            }
        }
        assert!(checked >= 12, "{checked}");
    }
}
