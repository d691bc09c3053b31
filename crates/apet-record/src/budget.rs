//! APET's budget: the number of parameters to select.

use serde::{Deserialize, Serialize};

/// The number of parameters that APET selects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// A number: `10000`.
    Count(u64),
    /// A share of the model's parameters: `"0.01%"`, in percent.
    Percent(f64),
    /// The count of a baseline on this model, by its closed form: `"as lora"`.
    As(Baseline),
}

/// A baseline of the paper, whose count has a closed form (paper, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// 100 virtual tokens.
    Prompt,
    /// Every bias.
    Bitfit,
    /// Bottleneck 24, two a block.
    Adapter,
    /// Rank 8 on the queries and values of self-attention.
    Lora,
}

impl Baseline {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Prompt, Self::Bitfit, Self::Adapter, Self::Lora];

    /// The name in the spec.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Bitfit => "bitfit",
            Self::Adapter => "adapter",
            Self::Lora => "lora",
        }
    }
}

impl From<u64> for Budget {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl std::fmt::Display for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::As(baseline) => write!(f, "as {}", baseline.name()),
        }
    }
}

impl std::str::FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "found \"{text}\", expected a number, a share such as \"0.01%\", or \"as lora\", \"as bitfit\", \"as adapter\", \"as prompt\""
            )
        };
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
            return (percent > 0.0 && percent <= 100.0)
                .then_some(Self::Percent(percent))
                .ok_or_else(wrong);
        }
        if let Some(name) = text.strip_prefix("as ") {
            let baseline = Baseline::ALL.into_iter().find(|b| b.name() == name);
            return baseline.map(Self::As).ok_or_else(wrong);
        }
        text.parse().map(Self::Count).map_err(|_| wrong())
    }
}

impl Serialize for Budget {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => to.serialize_u64(*count),
            other => to.collect_str(other),
        }
    }
}

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Budget;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number, a share such as \"0.01%\", or \"as lora\"")
            }
            fn visit_u64<E>(self, count: u64) -> Result<Budget, E> {
                Ok(Budget::Count(count))
            }
            // TOML has signed integers only.
            fn visit_i64<E: serde::de::Error>(self, count: i64) -> Result<Budget, E> {
                let signed = |_| E::invalid_value(serde::de::Unexpected::Signed(count), &self);
                u64::try_from(count).map(Budget::Count).map_err(signed)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Budget, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_any(Visitor)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Budget {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Budget".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "The number of parameters: 10000, a share of the model such as \"0.01%\", or \"as lora\".",
            "anyOf": [{ "type": "integer", "minimum": 1 }, { "type": "string" }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_as_they_are_written() {
        for (text, budget) in [
            ("4096", Budget::Count(4096)),
            ("0.01%", Budget::Percent(0.01)),
            ("100%", Budget::Percent(100.0)),
            ("as lora", Budget::As(Baseline::Lora)),
            ("as prompt", Budget::As(Baseline::Prompt)),
        ] {
            assert_eq!(text.parse(), Ok(budget));
            assert_eq!(budget.to_string(), text);
            let json = serde_json::to_string(&budget).unwrap();
            assert_eq!(serde_json::from_str::<Budget>(&json).unwrap(), budget);
        }
        assert_eq!(serde_json::to_string(&Budget::Count(7)).unwrap(), "7");
    }

    #[test]
    fn what_is_no_budget_is_refused() {
        for text in ["", "lots", "-1", "0%", "101%", "as ia3", "1e3", "NaN%"] {
            let problem = text.parse::<Budget>().unwrap_err();
            let expected =
                format!("found \"{text}\", expected a number, a share such as \"0.01%\"");
            assert!(problem.starts_with(&expected), "{problem}");
        }
        let text = serde_json::from_str::<Budget>("-5")
            .unwrap_err()
            .to_string();
        assert!(text.contains("expected a number, a share"), "{text}");
    }
}
