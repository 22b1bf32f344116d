// Starts Swagger UI: its own index does so inline, which the content security policy forbids.

window.addEventListener("load", () => {
  const reference = document.getElementById("reference");
  const token = document.querySelector('meta[name="csrf-token"]').content;
  window.SwaggerUIBundle({
    domNode: reference,
    url: reference.dataset.document,
    deepLinking: true,
    // null: it would ask a validator on the internet
    validatorUrl: null,
    requestInterceptor: (request) => {
      if (new URL(request.url, location).origin === location.origin) request.headers["X-CSRF-Token"] = token;
      return request;
    },
  });
});
