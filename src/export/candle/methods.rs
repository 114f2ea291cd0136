//! The list of candle's methods that [`TensorOps`](super::TensorOps) has under the same name with
//! the same arguments, from which the trait and both of its implementations are made. Whether it
//! is complete is checked against candle's source by `tests/cases_candle/surface.rs`.

/// Calls `$then! { … }` with the methods that take `&self`.
macro_rules! candle_methods {
    ($then:ident $($type:ident)?) => {
        $then! { $($type)?
            abs() -> Result<Self>;
            ceil() -> Result<Self>;
            cos() -> Result<Self>;
            erf() -> Result<Self>;
            exp() -> Result<Self>;
            floor() -> Result<Self>;
            gelu() -> Result<Self>;
            gelu_erf() -> Result<Self>;
            log() -> Result<Self>;
            neg() -> Result<Self>;
            recip() -> Result<Self>;
            relu() -> Result<Self>;
            round() -> Result<Self>;
            round_to(decimals: i32) -> Result<Self>;
            sign() -> Result<Self>;
            silu() -> Result<Self>;
            sin() -> Result<Self>;
            sqr() -> Result<Self>;
            sqrt() -> Result<Self>;
            tanh() -> Result<Self>;
            affine(mul: f64, add: f64) -> Result<Self>;
            elu(alpha: f64) -> Result<Self>;
            powf(e: f64) -> Result<Self>;
            to_dtype(dtype: DType) -> Result<Self>;

            add(rhs: &Self) -> Result<Self>;
            sub(rhs: &Self) -> Result<Self>;
            mul(rhs: &Self) -> Result<Self>;
            div(rhs: &Self) -> Result<Self>;
            pow(rhs: &Self) -> Result<Self>;
            broadcast_add(rhs: &Self) -> Result<Self>;
            broadcast_sub(rhs: &Self) -> Result<Self>;
            broadcast_mul(rhs: &Self) -> Result<Self>;
            broadcast_div(rhs: &Self) -> Result<Self>;
            broadcast_pow(rhs: &Self) -> Result<Self>;
            broadcast_maximum(rhs: &Self) -> Result<Self>;
            broadcast_minimum(rhs: &Self) -> Result<Self>;
            broadcast_eq(rhs: &Self) -> Result<Self>;
            broadcast_ne(rhs: &Self) -> Result<Self>;
            broadcast_lt(rhs: &Self) -> Result<Self>;
            broadcast_le(rhs: &Self) -> Result<Self>;
            broadcast_gt(rhs: &Self) -> Result<Self>;
            broadcast_ge(rhs: &Self) -> Result<Self>;
            where_cond(on_true: &Self, on_false: &Self) -> Result<Self>;

            matmul(rhs: &Self) -> Result<Self>;
            broadcast_matmul(rhs: &Self) -> Result<Self>;
            mv(rhs: &Self) -> Result<Self>;
            dot(rhs: &Self) -> Result<Self>;

            conv1d(kernel: &Self, padding: usize, stride: usize, dilation: usize, groups: usize) -> Result<Self>;
            conv1d_with_algo(kernel: &Self, padding: usize, stride: usize, dilation: usize, groups: usize, algo: Option<CudnnFwdAlgo>) -> Result<Self>;
            conv2d(kernel: &Self, padding: usize, stride: usize, dilation: usize, groups: usize) -> Result<Self>;
            conv2d_with_algo(kernel: &Self, padding: usize, stride: usize, dilation: usize, groups: usize, algo: Option<CudnnFwdAlgo>) -> Result<Self>;
            conv_transpose1d(kernel: &Self, padding: usize, output_padding: usize, stride: usize, dilation: usize, groups: usize) -> Result<Self>;
            conv_transpose2d(kernel: &Self, padding: usize, output_padding: usize, stride: usize, dilation: usize) -> Result<Self>;
            avg_pool2d<S: ToUsize2>(sz: S) -> Result<Self>;
            avg_pool2d_with_stride<S: ToUsize2>(kernel_size: S, stride: S) -> Result<Self>;
            max_pool2d<S: ToUsize2>(sz: S) -> Result<Self>;
            max_pool2d_with_stride<S: ToUsize2>(kernel_size: S, stride: S) -> Result<Self>;
            interpolate1d(target_size: usize) -> Result<Self>;
            upsample_nearest1d(target_size: usize) -> Result<Self>;
            interpolate2d(target_h: usize, target_w: usize) -> Result<Self>;
            upsample_nearest2d(target_h: usize, target_w: usize) -> Result<Self>;
            upsample_bilinear2d(target_h: usize, target_w: usize, align_corners: bool) -> Result<Self>;
            upsample_bilinear2d_with_scale(scale_h: f64, scale_w: f64, align_corners: bool) -> Result<Self>;

            sum<D: Dims>(dims: D) -> Result<Self>;
            sum_keepdim<D: Dims>(dims: D) -> Result<Self>;
            mean<D: Dims>(dims: D) -> Result<Self>;
            mean_keepdim<D: Dims>(dims: D) -> Result<Self>;
            var<D: Dim>(dim: D) -> Result<Self>;
            var_keepdim<D: Dim>(dim: D) -> Result<Self>;
            max<D: Dim>(dim: D) -> Result<Self>;
            max_keepdim<D: Dim>(dim: D) -> Result<Self>;
            min<D: Dim>(dim: D) -> Result<Self>;
            min_keepdim<D: Dim>(dim: D) -> Result<Self>;
            argmax<D: Dim>(dim: D) -> Result<Self>;
            argmax_keepdim<D: Dim>(dim: D) -> Result<Self>;
            argmin<D: Dim>(dim: D) -> Result<Self>;
            argmin_keepdim<D: Dim>(dim: D) -> Result<Self>;
            log_sum_exp<D: Dims>(dims: D) -> Result<Self>;
            cumsum<D: Dim>(dim: D) -> Result<Self>;
            norm() -> Result<Self>;
            sum_all() -> Result<Self>;
            mean_all() -> Result<Self>;
            max_all() -> Result<Self>;
            min_all() -> Result<Self>;
            arg_sort_last_dim(asc: bool) -> Result<Self>;
            sort_last_dim(asc: bool) -> Result<(Self, Self)>;

            gather<D: Dim>(indexes: &Self, dim: D) -> Result<Self>;
            index_select<D: Dim>(indexes: &Self, dim: D) -> Result<Self>;
            index_add<D: Dim>(indexes: &Self, source: &Self, dim: D) -> Result<Self>;
            scatter<D: Dim>(indexes: &Self, source: &Self, dim: D) -> Result<Self>;
            scatter_add<D: Dim>(indexes: &Self, source: &Self, dim: D) -> Result<Self>;
            slice_scatter<D: Dim>(src: &Self, dim: D, start: usize) -> Result<Self>;
            slice_scatter0(src: &Self, start: usize) -> Result<Self>;
            slice_assign<R: RangeBounds<usize>>(ranges: &[R], src: &Self) -> Result<Self>;
            embedding(ids: &Self) -> Result<Self>;
            get(i: usize) -> Result<Self>;
            get_on_dim<D: Dim>(dim: D, index: usize) -> Result<Self>;

            reshape<S: ShapeWithOneHole>(shape: S) -> Result<Self>;
            broadcast_as<S: Into<Shape>>(shape: S) -> Result<Self>;
            broadcast_left<S: Into<Shape>>(left_shape: S) -> Result<Self>;
            expand<S: Into<Shape>>(shape: S) -> Result<Self>;
            repeat<S: Into<Shape>>(shape: S) -> Result<Self>;
            flatten<A: Dim, B: Dim>(start_dim: A, end_dim: B) -> Result<Self>;
            flatten_to<D: Dim>(end_dim: D) -> Result<Self>;
            flatten_from<D: Dim>(start_dim: D) -> Result<Self>;
            flatten_all() -> Result<Self>;
            t() -> Result<Self>;
            transpose<A: Dim, B: Dim>(dim1: A, dim2: B) -> Result<Self>;
            permute<D: Dims>(dims: D) -> Result<Self>;
            squeeze<D: Dim>(dim: D) -> Result<Self>;
            unsqueeze<D: Dim>(dim: D) -> Result<Self>;
            narrow<D: Dim>(dim: D, start: usize, len: usize) -> Result<Self>;
            chunk<D: Dim>(chunks: usize, dim: D) -> Result<Vec<Self>>;
            flip(dims: &[usize]) -> Result<Self>;
            unfold<D: Dim>(dim: D, size: usize, step: usize) -> Result<Self>;
            pad_with_zeros<D: Dim>(dim: D, left: usize, right: usize) -> Result<Self>;
            pad_with_same<D: Dim>(dim: D, left: usize, right: usize) -> Result<Self>;
            contiguous() -> Result<Self>;
            force_contiguous() -> Result<Self>;
            copy() -> Result<Self>;
            to_device(device: &Device) -> Result<Self>;
            normalize_axis(axis: i64) -> Result<usize>;
            ones_like() -> Result<Self>;
            zeros_like() -> Result<Self>;
        }
    };
}

/// Calls `$then! { … }` with the functions that make a tensor.
macro_rules! candle_functions {
    ($then:ident $($type:ident)?) => {
        $then! { $($type)?
            zeros<S: Into<Shape>>(shape: S, dtype: DType, device: &Device) -> Result<Self>;
            ones<S: Into<Shape>>(shape: S, dtype: DType, device: &Device) -> Result<Self>;
            full<D: WithDType, S: Into<Shape>>(value: D, shape: S, device: &Device) -> Result<Self>;
            arange<D: WithDType>(start: D, end: D, device: &Device) -> Result<Self>;
            arange_step<D: WithDType>(start: D, end: D, step: D, device: &Device) -> Result<Self>;
            tril2(n: usize, dtype: DType, device: &Device) -> Result<Self>;
            triu2(n: usize, dtype: DType, device: &Device) -> Result<Self>;
            eye(n: usize, dtype: DType, device: &Device) -> Result<Self>;
            new<A: NdArray>(array: A, device: &Device) -> Result<Self>;
            from_vec<S: ShapeWithOneHole, D: WithDType>(data: Vec<D>, shape: S, device: &Device) -> Result<Self>;
            from_slice<S: ShapeWithOneHole, D: WithDType>(array: &[D], shape: S, device: &Device) -> Result<Self>;
            cat<A: AsRef<Self>, D: Dim>(args: &[A], dim: D) -> Result<Self>;
            stack<A: AsRef<Self>, D: Dim>(args: &[A], dim: D) -> Result<Self>;
            meshgrid<A: AsRef<Self>>(args: &[A], xy_indexing: bool) -> Result<Vec<Self>>;
        }
    };
}

/// Calls `$then! { … }` with the methods that read values or change a tensor in place: a traced
/// tensor has no values and does not change, so it refuses them by name.
macro_rules! candle_host_methods {
    ($then:ident $($type:ident)?) => {
        $then! { $($type)?
            to_scalar<S: WithDType>() -> Result<S>;
            to_vec0<S: WithDType>() -> Result<S>;
            to_vec1<S: WithDType>() -> Result<Vec<S>>;
            to_vec2<S: WithDType>() -> Result<Vec<Vec<S>>>;
            to_vec3<S: WithDType>() -> Result<Vec<Vec<Vec<S>>>>;
            zero_set() -> Result<()>;
            one_set() -> Result<()>;
            slice_set<D: Dim>(src: &Self, dim: D, offset: usize) -> Result<()>;
            scatter_set<D: Dim>(indexes: &Self, source: &Self, dim: D) -> Result<()>;
            scatter_add_set<D: Dim>(indexes: &Self, source: &Self, dim: D) -> Result<()>;
        }
    };
}

/// Makes a type's methods those of the trait.
macro_rules! delegate_methods {
    ($type:ident $($name:ident $(<$($g:ident: $bound:path),+>)? ($($arg:ident: $ty:ty),*) -> $output:ty;)*) => {$(
        #[inline]
        fn $name $(<$($g: $bound),+>)? (&self $(, $arg: $ty)*) -> $output {
            $type::$name(self $(, $arg)*)
        }
    )*};
}

/// Makes a type's functions those of the trait.
macro_rules! delegate_functions {
    ($type:ident $($name:ident $(<$($g:ident: $bound:path),+>)? ($($arg:ident: $ty:ty),*) -> $output:ty;)*) => {$(
        #[inline]
        fn $name $(<$($g: $bound),+>)? ($($arg: $ty),*) -> $output {
            $type::$name($($arg),*)
        }
    )*};
}

pub(super) use {
    candle_functions, candle_host_methods, candle_methods, delegate_functions, delegate_methods,
};
