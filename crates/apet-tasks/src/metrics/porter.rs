//! The Porter stemmer with NLTK's default extensions, which rouge-score uses.

/// Irregular words and their stems.
const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

/// A suffix and its replacement.
type Rule = (&'static str, &'static str);

const PLURALS: [Rule; 4] = [("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")];

const DOUBLE_SUFFIXES: [Rule; 21] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
];

const ENDINGS: [Rule; 7] = [
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
];

const SUFFIXES: [&str; 19] = [
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou",
    "ism", "ate", "iti", "ous", "ive", "ize",
];

/// The stem of a word of lower-case ASCII letters and digits.
pub(super) fn stem(word: &str) -> String {
    if let Some((_, stem)) = IRREGULAR.iter().find(|(irregular, _)| *irregular == word) {
        return (*stem).into();
    }
    if word.len() <= 2 {
        return word.into();
    }
    let word = plural(word);
    let word = past(word);
    let word = final_y(word);
    let word = double_suffix(word);
    let word = replaced(&word, &ENDINGS, |stem| measure(stem) > 0);
    let word = suffix(word);
    final_l(final_e(word))
}

/// Step 1a: caresses, ponies, ties, cats.
fn plural(word: &str) -> String {
    match word.strip_suffix("ies") {
        Some(stem) if stem.len() == 1 => format!("{stem}ie"),
        _ => replaced(word, &PLURALS, |_| true),
    }
}

/// Step 1b: agreed, plastered, motoring.
fn past(word: String) -> String {
    if let Some(stem) = word.strip_suffix("ied") {
        return format!("{stem}{}", if stem.len() == 1 { "ie" } else { "i" });
    }
    if let Some(stem) = word.strip_suffix("eed") {
        return match measure(stem) > 0 {
            true => format!("{stem}ee"),
            false => word,
        };
    }
    let stems = ["ed", "ing"].map(|suffix| word.strip_suffix(suffix));
    let has_vowel = |stem: &&str| !consonants(stem).iter().all(|is| *is);
    let Some(stem) = stems.into_iter().flatten().find(has_vowel) else {
        return word;
    };
    if ["at", "bl", "iz"].iter().any(|end| stem.ends_with(end)) {
        format!("{stem}e")
    } else if ends_double(stem) {
        match stem.ends_with(['l', 's', 'z']) {
            true => stem.into(),
            false => stem[..stem.len() - 1].into(),
        }
    } else if measure(stem) == 1 && ends_short(stem) {
        format!("{stem}e")
    } else {
        stem.into()
    }
}

/// Step 1c: happy, but not enjoy.
fn final_y(word: String) -> String {
    match word.strip_suffix('y') {
        Some(stem) if stem.len() > 1 && consonants(stem).last() == Some(&true) => {
            format!("{stem}i")
        }
        _ => word,
    }
}

/// Step 2: relational, conditional, radically.
fn double_suffix(word: String) -> String {
    let is_long = |stem: &str| measure(stem) > 0;
    match word.strip_suffix("alli") {
        Some(stem) if is_long(stem) => return double_suffix(format!("{stem}al")),
        _ => {}
    }
    match word.strip_suffix("ogi") {
        // The l of -logi counts as part of the stem, so that short stems like geo- are handled, too.
        Some(stem) if stem.ends_with('l') && is_long(stem) => format!("{stem}og"),
        _ => replaced(&word, &DOUBLE_SUFFIXES, is_long),
    }
}

/// Step 4: revival, allowance, adoption.
fn suffix(word: String) -> String {
    let Some(suffix) = SUFFIXES.iter().find(|suffix| word.ends_with(**suffix)) else {
        return word;
    };
    let stem = &word[..word.len() - suffix.len()];
    let is_cut = measure(stem) > 1 && (*suffix != "ion" || stem.ends_with(['s', 't']));
    match is_cut {
        true => stem.into(),
        false => word,
    }
}

/// Step 5a: probate, cease.
fn final_e(word: String) -> String {
    match word.strip_suffix('e') {
        Some(stem) if measure(stem) > 1 || (measure(stem) == 1 && !ends_short(stem)) => stem.into(),
        _ => word,
    }
}

/// Step 5b: controll.
fn final_l(mut word: String) -> String {
    if word.ends_with("ll") && measure(&word[..word.len() - 1]) > 1 {
        word.pop();
    }
    word
}

/// Applies the first rule whose suffix the word has; the word is unchanged if the stem is not `wanted`.
fn replaced(word: &str, rules: &[Rule], wanted: impl Fn(&str) -> bool) -> String {
    for (suffix, by) in rules {
        if let Some(stem) = word.strip_suffix(suffix) {
            return match wanted(stem) {
                true => format!("{stem}{by}"),
                false => word.into(),
            };
        }
    }
    word.into()
}

/// Whether each letter is a consonant: y is one at the start and after a vowel.
fn consonants(word: &str) -> Vec<bool> {
    let mut are = Vec::with_capacity(word.len());
    for letter in word.bytes() {
        let is = match letter {
            b'a' | b'e' | b'i' | b'o' | b'u' => false,
            b'y' => are.last() != Some(&true),
            _ => true,
        };
        are.push(is);
    }
    are
}

/// The number of vowel-consonant transitions.
fn measure(stem: &str) -> usize {
    let are = consonants(stem);
    are.windows(2).filter(|pair| !pair[0] && pair[1]).count()
}

/// Whether the word ends in a double consonant.
fn ends_double(word: &str) -> bool {
    let letters = word.as_bytes();
    let last = letters.len().saturating_sub(2);
    matches!(letters[last..], [a, b] if a == b) && consonants(word).last() == Some(&true)
}

/// Whether the word ends in consonant, vowel, consonant (not w, x or y), or consists of a vowel and a consonant.
fn ends_short(word: &str) -> bool {
    match consonants(word)[..] {
        [false, true] => true,
        [.., true, false, true] => !word.ends_with(['w', 'x', 'y']),
        _ => false,
    }
}
