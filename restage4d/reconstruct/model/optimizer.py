"""Adam over named tensors that survives NaNs: the last good state is kept and taken back at a lower
rate."""

from collections.abc import Mapping

import torch
from torch import Tensor

from restage4d.errors import FitError

_MOMENTS = ("exp_avg", "exp_avg_sq")


class GuardedAdam:
    """Adam with one rate per named parameter, decay, rollback on non-finite numbers, and resizable
    rows.

    Args:
        params: leaf tensors by name, changed in place in this dict when rows are added or dropped.
        rates: learning rate of every name.
        decay: name -> factor its rate has reached at the last step (exponential); absent =
            constant.
        steps: number of steps of the schedule.
    """

    snapshot_every = 50
    max_rollbacks = 8

    def __init__(
        self,
        params: dict[str, Tensor],
        rates: dict[str, float],
        decay: Mapping[str, float],
        steps: int,
    ) -> None:
        self.params, self.rates, self.decay = params, rates, decay
        self.steps = max(steps, 1)
        self._moments: dict[str, dict[str, Tensor]] = {}  # of every name: exp_avg, exp_avg_sq, step
        for name in params:
            self._set_moments(name, [torch.zeros_like(params[name]) for _ in _MOMENTS], 0.0)
        self.count = 0  # good steps so far
        self.rollbacks = 0
        self.rate_scale = 1.0
        self._good: dict[str, Tensor] | None = None

    def step(self, loss: Tensor) -> bool:
        """One update by ``loss``'s gradients. As `apply`."""
        leaves = {name: p for name, p in self.params.items() if p.requires_grad}
        if not loss.isfinite():
            return self.apply(loss.detach(), {})
        grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        return self.apply(loss.detach(), dict(zip(leaves, grads, strict=True)))

    def apply(self, loss: Tensor, grads: Mapping[str, Tensor | None]) -> bool:
        """One update by the gradients of ``loss``; a name without one stays. Returns False when it
        met a NaN and went back instead.

        Raises:
            FitError: after `max_rollbacks` rollbacks.
        """
        if self._good is None or self.count % self.snapshot_every == 0:
            self._keep()
        known = {name: grad for name, grad in grads.items() if grad is not None}
        given = [loss, *known.values()]
        norms = torch._foreach_norm(given)  # pyright: ignore[reportPrivateImportUsage]
        if not torch.stack(norms).sum().isfinite():
            self._roll_back()
            return False
        self.count += 1
        share = min(self.count / self.steps, 1.0)
        steps = [self._moments[name]["step"] for name in known]
        torch._foreach_add_(steps, 1.0)  # pyright: ignore[reportPrivateImportUsage]
        for name, grad in known.items():
            rate = self.rates[name] * self.rate_scale * self.decay.get(name, 1.0) ** share
            self._update(name, grad, rate)
        return True

    @torch.no_grad()
    def _update(self, name: str, grad: Tensor, rate: float) -> None:
        held = self._moments[name]
        torch._fused_adam_(  # pyright: ignore[reportPrivateImportUsage]
            [self.params[name]],
            [grad],
            [held["exp_avg"]],
            [held["exp_avg_sq"]],
            [],
            [held["step"]],
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=rate,
            weight_decay=0.0,
            eps=1e-15,
            maximize=False,
        )

    def resize(self, name: str, value: Tensor, source: Tensor) -> None:
        """Replaces a parameter by ``value``; row i keeps the moments of old row ``source[i]``, or
        zero where that is -1."""
        old = self._moments[name]
        value = value.detach().clone().requires_grad_()
        moments = []
        for key in _MOMENTS:
            if old[key].shape[1:] == value.shape[1:]:
                new = old[key][source.clamp_min(0)]
                new[source < 0] = 0
            else:
                new = torch.zeros_like(value)
            moments.append(new)
        self.params[name] = value
        self._set_moments(name, moments, float(old["step"]))
        self._good = None  # sizes differ now

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on, as cloned tensors."""
        out = {
            "optimiser": torch.tensor(
                [self.count, self.rollbacks, self.rate_scale], dtype=torch.float64
            )
        }
        for name in self.params:
            out |= {f"{key}.{name}": held.clone() for key, held in self._moments[name].items()}
        return out

    def load_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`; the parameters themselves are the caller's."""
        for name in self.params:
            self._set_moments(
                name,
                [state[f"{key}.{name}"].clone() for key in _MOMENTS],
                float(state[f"step.{name}"]),
            )
        count, rollbacks, self.rate_scale = state["optimiser"].tolist()
        self.count, self.rollbacks = int(count), int(rollbacks)
        self._good = None

    def _set_moments(self, name: str, moments: list[Tensor], step: float) -> None:
        at = torch.tensor(step, device=self.params[name].device)
        self._moments[name] = dict(zip(_MOMENTS, moments, strict=True)) | {"step": at}

    def _keep(self) -> bool:
        """Makes now the state to go back to, if all its numbers are finite."""
        finite = all(bool(torch.isfinite(p.detach()).all()) for p in self.params.values())
        if finite:
            self._good = self.state() | {
                f"p.{name}": p.detach().clone() for name, p in self.params.items()
            }
        return finite

    def _roll_back(self) -> None:
        rollbacks, scale = self.rollbacks + 1, self.rate_scale * 0.5
        if rollbacks > self.max_rollbacks or self._good is None:
            raise FitError(
                f"The fit met numbers that are not finite {rollbacks} times near step "
                f"{self.count}; it cannot go on."
            )
        with torch.no_grad():
            for name, p in self.params.items():
                p.copy_(self._good[f"p.{name}"])
        good = self._good
        self.load_state(good)
        self._good, self.rollbacks, self.rate_scale = good, rollbacks, scale
