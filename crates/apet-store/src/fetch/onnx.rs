//! BERT weights out of an ONNX graph, under their Hugging Face names.
//!
//! PyTorch's exporter keeps the names of embeddings, norms and biases, after a
//! prefix, and folds `x W^T` into `MatMul(x, onnx::MatMul_NNN)` with the weight
//! stored `[in, out]`. Such a weight is named after the bias that is added to
//! its product, and turned back to `[out, in]`.
//! Messages and field numbers are those of `onnx/onnx.proto`, as far as needed.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use prost::Message;
use safetensors::tensor::{Dtype, TensorView};

/// `ModelProto`.
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
}

/// `GraphProto`.
#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
}

/// `NodeProto`.
#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "4")]
    op_type: String,
}

/// `TensorProto`.
#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(float, repeated, tag = "4")]
    float_data: Vec<f32>,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "bytes", tag = "9")]
    raw_data: Bytes,
    /// 1: in another file.
    #[prost(int32, tag = "14")]
    data_location: i32,
}

/// `TensorProto.DataType.FLOAT`.
const FLOAT: i32 = 1;

/// One f32 tensor, little-endian.
#[derive(Clone, Debug, PartialEq)]
struct Weight {
    shape: Vec<usize>,
    data: Bytes,
}

/// Reads the ONNX file of a BERT encoder and returns the bytes of a safetensors file.
///
/// # Errors
/// Names the tensor, what was found and what was expected.
pub(crate) fn bert_to_safetensors(onnx: Bytes) -> Result<Vec<u8>> {
    let model = Model::decode(onnx).context("not an ONNX model")?;
    let graph = model.graph.context("the ONNX model has no graph")?;
    let weights = named_weights(&graph)?;
    let views: Vec<(&str, TensorView<'_>)> = weights
        .iter()
        .map(|(name, w)| {
            Ok((
                name.as_str(),
                TensorView::new(Dtype::F32, w.shape.clone(), &w.data)?,
            ))
        })
        .collect::<Result<_>>()?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// The graph's float initializers, each under its Hugging Face name.
fn named_weights(graph: &Graph) -> Result<BTreeMap<String, Weight>> {
    let initializers: HashMap<&str, &Tensor> = graph
        .initializer
        .iter()
        .map(|t| (t.name.as_str(), t))
        .collect();
    let linear = linear_names(graph, &initializers);
    let mut weights = BTreeMap::new();
    for tensor in graph.initializer.iter().filter(|t| t.data_type == FLOAT) {
        let (name, weight) = match (hugging_face_name(&tensor.name), linear.get(&*tensor.name)) {
            (_, Some(name)) => (name.clone(), read(tensor)?.transposed(&tensor.name)?),
            (Some(name), None) => (name.to_owned(), read(tensor)?),
            (None, None) => bail!(
                "the ONNX tensor {:?} is neither named after a BERT tensor nor multiplied in a linear layer",
                tensor.name
            ),
        };
        ensure!(
            weights.insert(name.clone(), weight).is_none(),
            "the ONNX model has two tensors for {name}"
        );
    }
    ensure!(
        weights.contains_key("embeddings.word_embeddings.weight"),
        "the ONNX model has no tensor embeddings.word_embeddings.weight, expected a BERT encoder"
    );
    Ok(weights)
}

/// Initializers multiplied in linear layers, with the weight's name: the node that
/// adds a bias `X.bias` to the product says that the weight is `X.weight`.
fn linear_names<'a>(
    graph: &'a Graph,
    initializers: &HashMap<&str, &Tensor>,
) -> HashMap<&'a str, String> {
    let products: HashMap<&str, &str> = graph
        .node
        .iter()
        .filter(|node| node.op_type == "MatMul")
        .filter_map(|node| match (&*node.input, &*node.output) {
            ([_, weight], [product]) if initializers.contains_key(weight.as_str()) => {
                Some((product.as_str(), weight.as_str()))
            }
            _ => None,
        })
        .collect();
    let mut names = HashMap::new();
    for node in graph.node.iter().filter(|node| node.op_type == "Add") {
        let [a, b] = &*node.input else { continue };
        for (bias, product) in [(a, b), (b, a)] {
            let name = hugging_face_name(bias).and_then(|name| name.strip_suffix(".bias"));
            if let (Some(name), Some(&weight)) = (name, products.get(product.as_str())) {
                names.insert(weight, format!("{name}.weight"));
            }
        }
    }
    names
}

/// `model.0.auto_model.encoder.layer.0...` is `encoder.layer.0...`.
fn hugging_face_name(name: &str) -> Option<&str> {
    ["embeddings.", "encoder.layer.", "pooler."]
        .iter()
        .filter_map(|start| {
            let at = name.find(start)?;
            let whole = at == 0 || name.get(..at).is_some_and(|before| before.ends_with('.'));
            whole.then(|| name.get(at..)).flatten()
        })
        .max_by_key(|name| name.len())
}

fn read(tensor: &Tensor) -> Result<Weight> {
    let name = &tensor.name;
    ensure!(
        tensor.data_location == 0,
        "the ONNX tensor {name:?} is in another file, expected one file with everything"
    );
    let shape = tensor
        .dims
        .iter()
        .map(|&d| usize::try_from(d))
        .collect::<Result<Vec<_>, _>>();
    let shape = shape.with_context(|| format!("the ONNX tensor {name:?} has a negative size"))?;
    let data = if tensor.raw_data.is_empty() {
        tensor
            .float_data
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect()
    } else {
        tensor.raw_data.clone()
    };
    let expected = shape.iter().try_fold(4_usize, |n, &d| n.checked_mul(d));
    ensure!(
        expected == Some(data.len()),
        "the ONNX tensor {name:?} has {} bytes, expected 4 for each number of {shape:?}",
        data.len()
    );
    Ok(Weight { shape, data })
}

impl Weight {
    /// - self: `[in, out]`
    /// - result: `[out, in]`
    fn transposed(&self, name: &str) -> Result<Self> {
        let [rows, columns] = *self.shape else {
            bail!(
                "the ONNX tensor {name:?} has the shape {:?}, expected [in, out]",
                self.shape
            );
        };
        let (numbers, _) = self.data.as_chunks::<4>();
        let mut data = Vec::with_capacity(self.data.len());
        for column in 0..columns {
            let picked = numbers.iter().skip(column).step_by(columns);
            data.extend(picked.flatten());
        }
        Ok(Self {
            shape: vec![columns, rows],
            data: data.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    fn tensor(name: &str, dims: &[i64]) -> Tensor {
        let n = dims.iter().product::<i64>();
        Tensor {
            dims: dims.to_vec(),
            data_type: FLOAT,
            name: name.into(),
            raw_data: (0..n).flat_map(|i| (i as f32).to_le_bytes()).collect(),
            ..Tensor::default()
        }
    }

    fn node(op: &str, input: &[&str], output: &str) -> Node {
        Node {
            op_type: op.into(),
            input: input.iter().map(|&s| s.into()).collect(),
            output: vec![output.into()],
        }
    }

    fn model(bias: &str) -> Model {
        let initializer = vec![
            tensor(
                "model.0.auto_model.embeddings.word_embeddings.weight",
                &[4, 2],
            ),
            tensor(bias, &[3]),
            tensor("onnx::MatMul_7", &[2, 3]),
        ];
        let node = vec![
            node("MatMul", &["x", "onnx::MatMul_7"], "product"),
            node("Add", &[bias, "product"], "y"),
        ];
        Model {
            graph: Some(Graph { node, initializer }),
        }
    }

    const BIAS: &str = "model.0.auto_model.encoder.layer.1.attention.self.key.bias";

    #[test]
    fn a_linear_weight_is_named_after_its_bias_and_transposed() {
        let file = bert_to_safetensors(model(BIAS).encode_to_vec().into()).unwrap();
        let read = SafeTensors::deserialize(&file).unwrap();
        let mut names = read.names();
        names.sort();
        assert_eq!(
            names,
            [
                "embeddings.word_embeddings.weight",
                "encoder.layer.1.attention.self.key.bias",
                "encoder.layer.1.attention.self.key.weight",
            ]
        );
        let weight = read.tensor(names[2]).unwrap();
        assert_eq!(weight.shape(), [3, 2]);
        let values: Vec<f32> = weight
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&b| f32::from_le_bytes(b))
            .collect();
        assert_eq!(values, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let problem = |model: &Model| {
            bert_to_safetensors(model.encode_to_vec().into())
                .unwrap_err()
                .to_string()
        };
        let p = problem(&model("something.else"));
        assert!(
            p.starts_with("the ONNX tensor \"something.else\" is neither"),
            "{p}"
        );
        let mut short = model(BIAS);
        short.graph.as_mut().unwrap().initializer[1].dims = vec![4];
        let p = problem(&short);
        assert!(
            p.contains("has 12 bytes, expected 4 for each number of [4]"),
            "{p}"
        );
        let mut negative = model(BIAS);
        negative.graph.as_mut().unwrap().initializer[1].dims = vec![-3];
        assert!(problem(&negative).contains("negative size"));
        let mut apart = model(BIAS);
        apart.graph.as_mut().unwrap().initializer[0].data_location = 1;
        assert!(problem(&apart).contains("in another file"));
        assert_eq!(
            problem(&Model { graph: None }),
            "the ONNX model has no graph"
        );
        let e = bert_to_safetensors(Bytes::from_static(b"\xff\xff rubbish")).unwrap_err();
        assert_eq!(e.to_string(), "not an ONNX model");
    }
}
