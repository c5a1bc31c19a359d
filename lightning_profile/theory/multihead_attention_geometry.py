"""The products of nn.MultiheadAttention, and which of their operands need gradients."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from lightning_profile.records import Call, TensorFact
from lightning_profile.theory.attention import ScaledDotProduct, scaled_dot_product
from lightning_profile.theory.expression import Expression, symbol

DROPOUT_OPERATIONS = 3  # <, /, ·: see lightning_profile/theory/dropout.py


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """A product of rows with a weight, and a bias.

    Attributes:
        outputs: Elements that come out.
        width: Elements of a row that goes in.
        input_needs_gradient: Whether what goes in does.
        trains_weight: Whether the weight's gradient is computed.
        trains_bias: Whether the bias's is.
        has_bias: Whether there is one.
    """

    outputs: Expression
    width: Expression
    input_needs_gradient: bool
    trains_weight: bool
    trains_bias: bool
    has_bias: bool

    @property
    def flop(self) -> Expression:
        """Of the product, and of each of its two gradients."""
        return 2 * (self.outputs * self.width)

    @property
    def output_needs_gradient(self) -> bool:
        """Whether anything that goes in does, parameters included."""
        return self.input_needs_gradient or self.trains_weight or self.trains_bias


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """One call: in-projections, attention, out-projection.

    Attributes:
        query: The in-projection of the queries.
        key: That of the keys.
        value: That of the values.
        output: The out-projection.
        attention: What is between them.
        appended: Elements that ``bias_k`` or ``bias_v`` adds, over the batch.
        needs_query: Whether the projected queries need a gradient.
        needs_key: Whether the projected keys do, an appended one included.
        needs_value: Whether the values do.
        needs_scores: Whether the products of queries and keys do.
        is_causal: Whether query i sees the keys 0 to i only.
        has_dropout: Whether attention weights are dropped.
        pair_operations: Per pair in the forward, beside attention's own.
    """

    query: Projection
    key: Projection
    value: Projection
    output: Projection
    attention: ScaledDotProduct
    appended: Expression
    needs_query: bool
    needs_key: bool
    needs_value: bool
    needs_scores: bool
    is_causal: bool
    has_dropout: bool
    pair_operations: int

    @property
    def projections(self) -> tuple[Projection, ...]:
        """All of them, in order."""
        return self.query, self.key, self.value, self.output


def attention_geometry(module: nn.MultiheadAttention, call: Call) -> Geometry | None:
    """The products of ``call``; ``None`` if its tensors don't fit them."""
    arguments = {each.name: each for each in call.inputs}
    query, key, value = arguments["query"], arguments["key"], arguments["value"]
    is_causal = bool(call.option("is_causal"))
    appended_keys = int(call.has("bias_k")) + int(module.add_zero_attn)
    # Whether all queries see an appended key depends on the path that PyTorch takes.
    if not _fits(module, call, query, key, value) or (is_causal and appended_keys):
        return None
    n, length, source = _sizes(module, query, key)
    e = symbol("E", module.embed_dim)
    q = _in_projection(call, query, n * length * e, e)
    k = _in_projection(call, key, n * source * e, symbol("E_k", module.kdim))
    v = _in_projection(call, value, n * source * e, symbol("E_v", module.vdim))
    masks = [each for each in call.inputs if each.name in {"attn_mask", "key_padding_mask"}]
    needs_query = q.output_needs_gradient
    needs_key = k.output_needs_gradient or call.trains("bias_k")
    needs_value = v.output_needs_gradient or call.trains("bias_v")
    needs_scores = needs_query or needs_key or any(each.requires_grad for each in masks)
    has_dropout = call.is_training and module.dropout > 0
    # A causal mask takes no additions: what it hides is not computed.
    additions = sum(not (is_causal and each.name == "attn_mask") for each in masks)
    averaging = int(len(call.outputs) > 1 and bool(call.option("average_attn_weights")))
    heads = symbol("heads", module.num_heads)
    return Geometry(
        query=q,
        key=k,
        value=v,
        output=Projection(
            outputs=n * length * e,
            width=e,
            input_needs_gradient=needs_scores or needs_value,
            trains_weight=call.trains("out_proj.weight"),
            trains_bias=call.trains("out_proj.bias"),
            has_bias=call.has("out_proj.bias"),
        ),
        attention=scaled_dot_product(
            batch=n,
            query_heads=heads,
            key_value_heads=heads,
            queries=length,
            keys=source + appended_keys if appended_keys else source,
            key_width=e // heads,
            value_width=e // heads,
            is_causal=is_causal,
        ),
        appended=n * e,
        needs_query=needs_query,
        needs_key=needs_key,
        needs_value=needs_value,
        needs_scores=needs_scores,
        is_causal=is_causal,
        has_dropout=has_dropout,
        pair_operations=additions + averaging + (DROPOUT_OPERATIONS if has_dropout else 0),
    )


def _fits(
    module: nn.MultiheadAttention, call: Call, query: TensorFact, key: TensorFact, value: TensorFact
) -> bool:
    return (
        len(query.shape) in {2, 3}
        and query.shape[-1] == module.embed_dim
        and (key.shape[-1], value.shape[-1]) == (module.kdim, module.vdim)
        and key.shape[:-1] == value.shape[:-1]
        and call.outputs[0].shape == query.shape
    )


def _sizes(
    module: nn.MultiheadAttention, query: TensorFact, key: TensorFact
) -> tuple[Expression, Expression, Expression]:
    """N, L and S; without a batch, N is 1."""
    lengths_at, batch_at = (1, 0) if module.batch_first else (0, 1)
    if len(query.shape) == 2:
        return symbol("N", 1), symbol("L", query.shape[0]), symbol("S", key.shape[0])
    return (
        symbol("N", query.shape[batch_at]),
        symbol("L", query.shape[lengths_at]),
        symbol("S", key.shape[lengths_at]),
    )


def _in_projection(
    call: Call, tensor: TensorFact, outputs: Expression, width: Expression
) -> Projection:
    packed, own = "in_proj_weight", f"{tensor.name[0]}_proj_weight"
    return Projection(
        outputs=outputs,
        width=width,
        input_needs_gradient=tensor.requires_grad,
        trains_weight=call.trains(packed) or call.trains(own),
        trains_bias=call.trains("in_proj_bias"),
        has_bias=call.has("in_proj_bias"),
    )
