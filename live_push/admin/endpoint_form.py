"""The endpoint's form: credentials go in and never come out."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from live_push import conf, endpoint_url
from live_push.contract import headers, payload
from live_push.contract.fields import BODY, BODY_KEYS
from live_push.delivery import retry, test_push
from live_push.exceptions import EndpointUrlError, SecretUnreadable
from live_push.models import AuthMethod, ClientEndpoint

from .credential_age import set_when
from .sentences import InReadersLanguage
from .words import schedule

HINT_CHARACTERS = 4
LEAST_TO_HINT_AT = 16
"""A secret shorter than this would be half told by its last characters."""

SECRETS = {"password": AuthMethod.BASIC, "api_key": AuthMethod.API_KEY}
MAY_BE_WITHHELD = [field for field in BODY if field.key not in (BODY_KEYS["id"], BODY_KEYS["tier_info"])]


def withheld_choices() -> list[tuple[str, SafeString]]:
    """The keys that may be withheld, each with what it says of the member of a test push."""
    body = payload.ProfilePayload().snapshot(test_push.SYNTHETIC)
    label = '{} <span class="lp-quiet">{}</span>'
    return [
        (field.key, format_html(label, field.key, Truncator(_as_json(body[field.key])).chars(40)))
        for field in MAY_BE_WITHHELD
    ]


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class EndpointForm(InReadersLanguage, forms.ModelForm):  # type: ignore[type-arg]
    """All but the credentials: for who may change an endpoint, but not how we log in there."""

    retry_policy = forms.ChoiceField(
        label=_("Retry policy"),
        widget=forms.RadioSelect,
        help_text=_("When a push that was not accepted is sent again."),
    )
    withheld_fields = forms.MultipleChoiceField(
        label=_("Withheld fields"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        choices=withheld_choices,
        help_text=_(
            "These keys are sent as null to this endpoint: personal data that the client must not get. "
            "Beside each stands what a test push would send."
        ),
    )

    class Meta:
        model = ClientEndpoint
        fields = [
            "name",
            "url",
            "is_active",
            "contact_email",
            "extra_headers",
            "capture_third_party_id",
            "ordering",
            "retry_policy",
            "max_in_flight",
            "rate_limit_per_second",
            "timeframe_score_alias",
            "null_levels_as_objects",
            "mobile_verified_as_date",
            "withheld_fields",
        ]
        help_texts = {
            "name": _("What pages, commands and notices call it."),
            "ordering": _("What becomes of an older update of a member when there is a newer one."),
            "max_in_flight": _("To this endpoint, over all workers."),
            "rate_limit_per_second": _("Over all workers; empty for no limit. 0.5 is one in two seconds."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "retry_policy" in self.fields:
            extra = conf.current().RETRY_POLICIES
            names = [*retry.POLICIES, *extra]
            choice: Any = self.fields["retry_policy"]
            choice.choices = [(name, f"{name}: {schedule(retry.policy(name, extra))}") for name in names]
            choice.initial = retry.CROWDTWIST.name

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if self.instance.pk and self.has_moved():
            self.refuse_move(data)
        return data

    def clean_extra_headers(self) -> Any:
        """An emptied field means none."""
        headers = self.cleaned_data["extra_headers"]
        return {} if headers is None else headers

    def has_moved(self) -> bool:
        """Whether the URL now names another host, port or scheme than the credentials were typed for."""
        if "url" not in self.changed_data:
            return False
        try:
            return endpoint_url.origin(self.cleaned_data.get("url", "")) != endpoint_url.origin(self.initial["url"])
        except EndpointUrlError:
            # The model says what is wrong with it.
            return False

    def refuse_move(self, data: dict[str, Any]) -> None:
        """What to say where the URL moved away from the stored credentials."""
        if any(getattr(self.instance, name) is not None for name in SECRETS):
            self.add_error(
                "url",
                _("The stored credentials belong to the old host. Who may change credentials must type new ones."),
            )


class EndpointFormWithCredentials(EndpointForm):
    """Everything. Secrets have fields of their own, which are never filled in, whatever happens."""

    new_password = forms.CharField(
        label=_("New password"),
        required=False,
        strip=False,
        max_length=255,
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password"}),
    )
    clear_password = forms.BooleanField(label=_("Forget the stored password"), required=False)
    new_api_key = forms.CharField(
        label=_("New API key"),
        required=False,
        strip=False,
        max_length=1024,
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password"}),
    )
    clear_api_key = forms.BooleanField(label=_("Forget the stored API key"), required=False)

    class Meta(EndpointForm.Meta):
        fields = [*EndpointForm.Meta.fields, "auth_method", "username"]
        help_texts = {
            **EndpointForm.Meta.help_texts,
            "auth_method": _("As the client asks for it; a signing secret can be added to any."),
            "username": _("As the client gave it."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in SECRETS:
            self.fields[f"new_{name}"].help_text = stored_in_words(self.instance, name)

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        method = data.get("auth_method", self.instance.auth_method)
        if method != AuthMethod.BASIC:
            if data.get("username") and "username" in self.changed_data:
                self.add_error("username", _("A user name belongs to Basic authentication only."))
            # Another method forgets it, so that nobody has to clear fields that are not shown.
            data["username"] = self.instance.username = ""
        for name, owner in SECRETS.items():
            self._set_secret(name, data, wanted=method == owner)
        return data

    def refuse_move(self, data: dict[str, Any]) -> None:
        """Each secret says it for itself, and accepts a new one."""

    def _set_secret(self, name: str, data: dict[str, Any], *, wanted: bool) -> None:
        typed, clear = data.get(f"new_{name}") or "", data.get(f"clear_{name}")
        stored = getattr(self.instance, name) is not None
        problem: Any = ""
        if typed and clear:
            problem = _("Type a new one, or forget the stored one: not both.")
        elif typed and not wanted:
            problem = _("The chosen authentication does not use this. Choose the one that does, or leave it empty.")
        elif typed:
            problem = _problem_with(name, typed)
        elif stored and wanted and not clear and self.instance.pk and self.has_moved():
            problem = _("The URL moved to another host, so the stored one is not sent any more. Type it again.")
        elif wanted and name == "api_key" and (clear or not stored):
            problem = _("API key authentication needs a key. Type it.")
        if problem:
            self.add_error(f"new_{name}", problem)
        if typed and not problem:
            setattr(self.instance, name, typed)
        elif problem or clear or not wanted:
            setattr(self.instance, name, None)

    def _post_clean(self) -> None:
        told = any(f"new_{name}" in self.errors for name in SECRETS)
        super()._post_clean()  # type: ignore[misc]
        if told:
            # The model says it of the method; the field says it better.
            self.errors.pop("auth_method", None)


def stored_in_words(endpoint: ClientEndpoint, name: str) -> Any:
    """Whether and since when a secret is stored, and the hint by which its owner knows it; never the secret."""
    try:
        text = endpoint.reveal(name) if endpoint.pk else None
    except SecretUnreadable:
        return _("Stored, but it can't be read any more. Type it again.")
    if text is None:
        return _("None is stored.")
    sentences = [set_when(endpoint) or _("One is stored."), _("Leave empty to keep it.")]
    if name == "api_key" and len(text) >= LEAST_TO_HINT_AT:
        sentences.insert(1, _("It ends in …%(hint)s.") % {"hint": text[-HINT_CHARACTERS:]})
    return " ".join(map(str, sentences))


def _problem_with(name: str, text: str) -> str:
    try:
        if name == "password":
            headers.check_basic("", text)
        else:
            headers.check_api_key(text)
    except (ValueError, ValidationError) as error:
        return str(error)
    return ""
