"""Back-propagation in NumPy, and nothing else: no specs, no SQL, no files, no clock.

The equation that all of it serves, for one weight from unit i to unit j:

    dL/dw_ij = dL/da_j x da_j/dz_j x dz_j/dw_ij        w_new = w_old - eta dL/dw_ij

Where to find it: dL/da x da/dz in `Activation.grad_z` (activation_base.py), x dz/dw in `DensePass.backward_from_z`
(layers/dense.py), the walk from the loss back to the first layer in `TrainingPass` (network.py), and the step in
`Optimizer` (optimizer_base.py).

The letters: `x` is the input of a layer. `z` is its weighted sum, or the stretched and shifted output of a
normalisation. `a = f(z)` is its activation. `grad_w` is dL/dw, and so on.

Each kind of layer, activation, loss, metric, optimizer, schedule and initialiser is one class or record that holds
everything NumPy needs for it, and one entry in a table by its name. May import worker.errors and nothing else of the
worker.
"""
