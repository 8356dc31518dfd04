//! A page of findings that are made up, read back by a small parser.

use shared_model::bundle::Manifest;
use shared_model::catalog::{Catalog, item_from_json};
use shared_model::graph::{Builder, DType, Link, Op, Scope, Type, Unary};
use shared_model::schema::Schema;
use shared_model::variant::{Variant, VariantName};

use super::*;
use crate::check::Difference;
use crate::evaluate::{Evaluation, Terms, evaluate};
use crate::findings::Size;
use crate::gate::{Claim, calibrate};
use crate::peer::{Compared, Missing};
use crate::ranker::{Form, Ranker};
use crate::replay::replay;
use crate::score::{MessageSize, Scored, Set};
use crate::split::Work;

const SCHEMA: &str =
    "schema_version = 1\nmodel = \"m\"\n[[feature]]\nname = \"quality\"\nkind = \"numeric\"\nscope = \"item\"\n";
const HOSTILE: &str = "<script>alert('\"&')</script>";

fn variant(name: VariantName) -> Variant {
    let mut builder = Builder::new();
    let ty = Type { dtype: DType::F32, shape: Vec::new(), scope: Scope::Item };
    let quality = builder.input("quality", ty).unwrap();
    let score = builder.push("score", Op::Unary(Unary::Neg), &[quality]).unwrap();
    let graph = builder.finish(score, Link::Sigmoid).unwrap();
    Variant { name, graph, tensors: [].into(), noise: None }
}

/// Requests of 8 candidates by users of this name, the last relevant; the edge swaps the best two of every third.
fn requests(user: &str, relevant: bool) -> Set {
    let one = |i: usize| {
        let reference: Vec<f32> = (0..8u8).map(|c| f32::from(c) * 0.5).collect();
        let mut edge = reference.clone();
        if i.is_multiple_of(3) {
            edge.swap(6, 7);
            edge[0] += 0.25;
        }
        Scored {
            line: i + 1,
            user: format!("{user}{i}"),
            history: Some(i % 7),
            ids: (0..8).map(|c| if c == 7 { HOSTILE } else { "m1" }).collect(),
            relevant: if relevant { vec![7] } else { Vec::new() },
            scores: vec![edge, reference.clone(), reference],
            noise: vec![vec![1.0; 8]; 3],
            message: MessageSize { rest: 10, candidates: vec![4; 8] },
        }
    };
    Set { requests: (0..600).map(one).collect(), skipped: 3 }
}

fn findings(user: &str, relevant: bool) -> Findings {
    let schema = Schema::from_toml(SCHEMA).unwrap();
    let items = [(HOSTILE, 5), ("m1", 1)].map(|(id, popularity)| {
        let item = serde_json::json!({"id": id, "quality": 1, "popularity": popularity});
        item_from_json(&item.to_string()).unwrap()
    });
    let catalog = Catalog::build(&schema, items).unwrap();
    let set = requests(user, relevant);
    let mut manifest = Manifest::new("m", HOSTILE, 7, SCHEMA.as_bytes());
    manifest.policies = calibrate(&set.requests, &Claim { alpha: 0.05, delta: 0.05, ks: vec![1, 2] });
    let evaluations = evaluate(&set.requests, &Terms { k: 1, link: Link::Sigmoid, catalog: &catalog });
    let variants = VariantName::ALL.map(variant);
    let replays = replay(&manifest.policies, &set.requests);
    let findings = Findings::of(&manifest, &variants, &set, evaluations);
    Findings { replays, ..findings }.with_unsplit(Work { request: 10, item: 0, pair: 90 })
}

/// Every tag with its attributes, after checking that tags close each other in order, and what text there is.
fn parsed(page: &str) -> Result<(Vec<(String, String)>, String), String> {
    let body = page.strip_prefix("<!DOCTYPE html>").ok_or("no doctype")?;
    let (mut open, mut tags, mut text) = (Vec::new(), Vec::new(), String::new());
    let mut rest = body;
    while let Some((before, after)) = rest.split_once('<') {
        if before.contains('>') {
            return Err(format!("a stray > in {before:?}"));
        }
        text.push_str(before);
        let (tag, behind) = after.split_once('>').ok_or("a tag without an end")?;
        rest = behind;
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop().as_deref() != Some(name) {
                return Err(format!("</{name}> closes nothing"));
            }
            continue;
        }
        if tag.matches('"').count() % 2 == 1 {
            return Err(format!("an attribute without an end in <{tag}>"));
        }
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        tags.push((name.trim_end_matches('/').to_owned(), attributes.to_owned()));
        if !tag.ends_with('/') {
            open.push(name.to_owned());
        }
        if name == "style" {
            let (_, behind) = rest.split_once("</style>").ok_or("a style without an end")?;
            rest = behind;
            open.pop();
        }
    }
    if open.is_empty() { Ok((tags, text)) } else { Err(format!("{open:?} are left open")) }
}

#[test]
fn a_page_is_well_formed_and_has_every_section() {
    let page = page(&findings("u", true)).unwrap();
    let (tags, text) = parsed(&page).unwrap();
    for (anchor, title, _) in SECTIONS {
        assert!(tags.contains(&("section".into(), format!("id=\"{anchor}\""))), "{anchor}");
        assert!(text.contains(title), "{title}");
    }
    let count = |name: &str| tags.iter().filter(|(tag, _)| tag == name).count();
    assert_eq!(count("svg"), 2, "one curve; the edge alone deviates");
    assert!(count("table") >= 7 && count("polyline") > 2, "{} {}", count("table"), count("polyline"));
    for said in ["600 requests of 600 users", "3 more were left out", "new users", "head items", "line 1", "90"] {
        assert!(text.contains(said), "{said}");
    }
}

#[test]
fn a_peer_stands_beside_the_variants() {
    let mut findings = findings("u", true);
    let variant = Ranker::Peer(Form::Int8Dynamic);
    findings.sizes.push(Size { variant, bytes: 2048, share: 0.25 });
    findings.evaluations.push(Evaluation { variant, ..findings.evaluations[0].clone() });
    findings.compared = Some(Compared {
        peer: "onnxruntime 1.0".to_owned(),
        difference: Some(Difference::default()),
        missing: vec![Missing { what: "onnxruntime int8 static".to_owned(), reason: HOSTILE.to_owned() }],
    });
    let (tags, text) = parsed(&page(&findings).unwrap()).unwrap();
    assert_eq!(text.matches("onnxruntime int8 dynamic").count(), 4 + 2, "a tile, two tables, and a row a cohort");
    assert!(text.contains("25.00 % of f32") && text.contains("onnxruntime 1.0, whose full precision"), "{text}");
    assert!(text.contains("onnxruntime int8 static: &lt;script&gt;"), "{text}");
    assert!(tags.contains(&("i".into(), "class=\"swatch peer\"".into())));
}

#[test]
fn what_comes_from_data_is_escaped() {
    let page = page(&findings(HOSTILE, true)).unwrap();
    let (tags, text) = parsed(&page).unwrap();
    assert!(tags.iter().all(|(name, _)| name != "script"), "no element comes from data");
    let escaped = "&lt;script&gt;alert(&#39;&quot;&amp;&#39;)&lt;/script&gt;";
    assert!(text.contains(&format!("{escaped}0")), "the user");
    assert!(text.contains(&format!("Version {escaped}")), "the version");
    assert!(page.contains(&format!("<code>{escaped}</code>")), "an item");
}

#[test]
fn a_page_fetches_nothing_and_has_the_colours_of_the_reader() {
    let page = page(&findings("u", true)).unwrap();
    for fetched in ["http:", "https:", "url(", "src=", "@import", "<link"] {
        assert!(!page.contains(fetched), "{fetched}");
    }
    let (tags, _) = parsed(&page).unwrap();
    let drawn = tags.iter().filter(|(name, _)| ["text", "polyline", "line", "rect"].contains(&name.as_str()));
    for (name, attributes) in drawn {
        assert!(!attributes.contains("\"#"), "<{name} {attributes}> has a colour of its own");
    }
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("var(--w4)"));
}

#[test]
fn the_same_findings_make_the_same_page() {
    assert!(page(&findings("u", true)).unwrap() == page(&findings("u", true)).unwrap());
}

#[test]
fn a_log_without_relevant_items_says_so() {
    let (_, text) = parsed(&page(&findings("u", false)).unwrap()).unwrap();
    assert!(text.contains("No request names a relevant item"), "{text}");
    assert!(text.contains("new users") && !text.contains("tail items"));
}

#[test]
fn a_page_has_a_place_before_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("bundle");
    std::fs::create_dir(&bundle).unwrap();
    let refused = |path: &std::path::Path| PageFile::reserve(path, &bundle).unwrap_err().to_string();
    assert!(refused(&bundle.join("report.html")).contains("is in the bundle's folder"));
    assert!(refused(&bundle).contains("is a folder"));
    assert!(refused(&dir.path().join("none/report.html")).contains("none/report.html: No such file"));
    let path = dir.path().join("report.html");
    drop(PageFile::reserve(&path, &bundle).unwrap());
    assert_eq!(dir.path().read_dir().unwrap().count(), 1, "a run that fails leaves nothing");
    PageFile::reserve(&path, &bundle).unwrap().fill(&findings("u", true)).unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().ends_with("</html>\n"));
}
