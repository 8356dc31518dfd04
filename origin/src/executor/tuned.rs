//! Products on a GPU by kernels without tensor cores, of which the fastest is found once a shape.
//!
//! burn's own matmul is tuned too, but among its kernels are those that round f32 operands to TF32, and it takes them
//! where they are faster. Here the same kernels are tried without those: none of them has another type inside than f32.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Cube, DType, TensorMetadata, calculate_matmul_output, ops::FloatTensorOps};
use cubecl::prelude::Scalar as _;
use cubecl::tune::{LocalTuner, Tunable, TunableSet, local_tuner};
use cubek::matmul::definition::{MatmulElems, MatmulGlobalElems};
use cubek::matmul::launch::launch_ref;
use cubek::matmul::multi_level::Strategy;
use cubek::matmul::multi_level::routines::TileSizeSelection;
use cubek::matmul::multi_level::routines::batch::double_unit::DoubleUnitSelectionArgs;
use cubek::matmul::multi_level::routines::batch::simple_unit::SimpleUnitSelectionArgs;
use cubek::matmul::routine::BlueprintStrategy::Inferred;
use cubek::matmul::tune_key::MatmulAutotuneKey;
use cubek::std::InputBinding;

type Tensor = FloatTensor<Cube>;
type Operands = (Tensor, Tensor, Tensor);

/// The product, in IEEE f32.
pub(super) fn ieee(a: Tensor, b: Tensor) -> Tensor {
    static TUNER: LocalTuner<MatmulAutotuneKey, String> = local_tuner!();
    let shape = calculate_matmul_output(&a.shape(), &b.shape()).expect("the graph's builder checked the shapes");
    let product = Cube::float_empty(shape, &a.device, DType::F32.into());
    let device = format!("{:?}", a.device);
    let tunables = TUNER.init(&device, kernels);
    let client = a.client.clone();
    TUNER.execute(&device, &client, tunables, (a, b, product.clone()));
    product
}

fn kernels() -> TunableSet<MatmulAutotuneKey, Operands, ()> {
    let mut kernels = TunableSet::new(key, |_: &MatmulAutotuneKey, (a, b, product): &Operands| {
        (a.clone(), b.clone(), product.copy())
    });
    // First, because it takes every shape.
    let mut strategies = vec![Strategy::Naive];
    for tile_size in [TileSizeSelection::MaxTileSize, TileSizeSelection::MinTileSize] {
        strategies.push(Strategy::SimpleUnit(Inferred(SimpleUnitSelectionArgs { tile_size })));
        strategies.push(Strategy::DoubleUnit(Inferred(DoubleUnitSelectionArgs { tile_size })));
    }
    strategies.push(Strategy::Gemm(Inferred(Default::default())));
    strategies.push(Strategy::GemvUnitPerpendicular(Inferred(Default::default())));
    for strategy in strategies {
        let name = strategy.to_string();
        kernels = kernels.with(Tunable::new(&name, move |operands| launch(&strategy, operands)));
    }
    kernels
}

fn launch(strategy: &Strategy, (a, b, product): Operands) -> Result<(), String> {
    let f32 = f32::elem_type_native();
    let mut types = MatmulElems::from_globals(&MatmulGlobalElems { lhs: f32, rhs: f32, out: f32 });
    let client = a.client.clone();
    let [a, b] = [a, b].map(|x| InputBinding::new(x.binding(), f32));
    launch_ref(&strategy.clone().into(), &client, a, b, product.binding(), &mut types).map_err(|e| format!("{e:?}"))
}

fn key((a, b, _): &Operands) -> MatmulAutotuneKey {
    let f32 = f32::elem_type_native();
    let (left, right) = (&a.meta, &b.meta);
    MatmulAutotuneKey::generate(
        &a.client,
        left.shape(),
        right.shape(),
        left.strides(),
        right.strides(),
        left.tiling,
        right.tiling,
        f32,
        f32,
        f32,
        None,
        None,
    )
}
