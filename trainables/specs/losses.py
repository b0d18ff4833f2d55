"""The recovery loss: which terms, at which weights, over which tokens."""

from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from trainables.specs.base import Frozen

LogitsLoss = Literal["kl", "reverse_kl", "js"]
HiddenLoss = Literal["l2", "relative_l2", "cosine"]
Covered = Literal["all", "text", "response"]
LayerMap = Literal["last", "kept", "uniform"]
LOGITS_LOSSES: tuple[LogitsLoss, ...] = get_args(LogitsLoss)
HIDDEN_LOSSES: tuple[HiddenLoss, ...] = get_args(HiddenLoss)


class LossSpec(Frozen):
    """total = alpha * CE + beta * logits + gamma * hidden; each term is a mean over its tokens.

    Attributes:
        alpha: weight of the cross-entropy on response tokens.
        beta: weight of the logits distillation.
        gamma: weight of the distillation of the last `hidden_layers` hidden states.
        label_smoothing: probability mass of the cross-entropy's targets that all tokens share.
        logits: `kl` is KL(teacher || student), `reverse_kl` is KL(student || teacher), `js` is
            Jensen-Shannon, w KL(teacher || m) + (1 - w) KL(student || m) with the mixture
            m = w teacher + (1 - w) student (Agarwal et al., arXiv 2306.13649, eq. 1).
        js_weight: that w; 0.5 is the symmetric one.
        temperature: tau of the logits term, which is multiplied by tau squared.
        logits_tokens: positions of the logits term: those that predict a response token, those that
            predict any text, or all; padding never counts.
        logits_per: what the sum over these positions is divided by: their number in the global
            batch, or the number of its samples, as in the study. A weight per `sample` is that per
            `token` divided by how many such positions a sample has.
        hidden: squared error; the same over the teacher's squared norm at that token; or 1 - cos.
        hidden_layers: k; 1 is the state after the final norm, earlier ones the raw residual stream.
        hidden_tokens: which tokens the hidden term covers; padding never counts.
        layer_map: which state of the teacher each of the student's last k is compared with: its
            last k; the output of the same dense layer (`kept`); or the one at the same relative
            depth (`uniform`). The last state always faces the teacher's last.
        width_map: where teacher and student differ in hidden size, train a linear map from the
            student's states to the teacher's width, which is thrown away afterwards.
        normalize: `teacher` divides the squared error, per layer, by the teacher's mean square on
            the calibration data; `none` is the study's rule, whose gamma weighs as much as that
            mean square times it.
    """

    alpha: float = Field(1.0, ge=0.0)
    beta: float = Field(0.0, ge=0.0)
    gamma: float = Field(0.0, ge=0.0)
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0)
    logits: LogitsLoss = "reverse_kl"
    js_weight: float = Field(0.5, gt=0.0, lt=1.0)
    temperature: float = Field(2.0, gt=0.0)
    logits_tokens: Covered = "response"
    logits_per: Literal["token", "sample"] = "token"
    hidden: HiddenLoss = "l2"
    hidden_layers: int = Field(1, ge=1)
    hidden_tokens: Covered = "all"
    layer_map: LayerMap = "last"
    width_map: bool = False
    normalize: Literal["teacher", "none"] = "teacher"

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if self.alpha == self.beta == self.gamma == 0:
            raise ValueError(
                "alpha, beta and gamma are all 0, so there is nothing to train on; "
                "give at least one of them a positive value"
            )
        return self

    @property
    def needs_teacher(self) -> bool:
        """Whether the dense model has to run beside the student."""
        return self.beta > 0 or self.gamma > 0

    @property
    def weights(self) -> dict[str, float]:
        """Weights of the active terms by their names, e.g. `{"ce": 1.0, "reverse_kl": 0.5}`."""
        named = {"ce": self.alpha, self.logits: self.beta, self.hidden: self.gamma}
        return {name: weight for name, weight in named.items() if weight > 0}

    @property
    def normalised(self) -> tuple[float, float, float]:
        """(alpha, beta, gamma) divided by their sum."""
        total = self.alpha + self.beta + self.gamma
        return self.alpha / total, self.beta / total, self.gamma / total

    @property
    def terms(self) -> str:
        """Names of the active terms, e.g. `ce+reverse_kl+l2`."""
        return "+".join(self.weights)

    @property
    def idle(self) -> set[str]:
        """Settings that cannot influence the outcome at these weights."""
        idle: set[str] = set()
        if not self.alpha:
            idle |= {"label_smoothing"}
        if not self.beta:
            idle |= {"logits", "js_weight", "temperature", "logits_tokens", "logits_per"}
        elif self.logits != "js":
            idle |= {"js_weight"}
        if not self.gamma:
            idle |= {"hidden", "hidden_layers", "hidden_tokens", "layer_map", "width_map"}
        if not self.gamma or self.hidden != "l2":
            idle |= {"normalize"}
        if self.hidden_layers == 1:
            idle |= {"layer_map"}
        return idle
