"""Back-propagation in NumPy, and nothing else: no specs, no SQL, no files, no clock.

The equation that all of it serves, for one weight from unit i to unit j:

    dL/dw_ij = dL/da_j x da_j/dz_j x dz_j/dw_ij        w_new = w_old - eta dL/dw_ij

Where it stands: dL/da x da/dz in `Activation.grad_z` (activation.py), x dz/dw in `DensePass.backward_from_z`
(layers/dense.py), the walk from the loss back to the first layer in `TrainingPass` (network.py), and the step in
`Optimizer` (optimizers.py).

`x` is what enters a layer, `z` its weighted sum (of a norm layer what it stretched and shifted), `a = f(z)` its
activation; `grad_w` is dL/dw, and so on.
"""
