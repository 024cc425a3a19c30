"""The endpoint's form. Credentials can be set, but are never shown."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from live_push import conf
from live_push.admin.shared.formatting import schedule
from live_push.contract import headers, payload
from live_push.contract.fields import BODY, BODY_KEYS
from live_push.contract.options import ignored_by_default
from live_push.delivery import test_push
from live_push.exceptions import EndpointUrlError, SecretUnreadable
from live_push.models import AuthMethod, ClientEndpoint, validators
from live_push.rules import endpoint_url, retry
from live_push.rules.masking import Masked
from live_push.rules.translation import translated

from .credential_age import set_when

HINT_CHARACTERS = 4
LEAST_TO_HINT_AT = 16
"""The last characters would reveal too much of a shorter secret."""

SECRETS = {"password": AuthMethod.BASIC, "api_key": AuthMethod.API_KEY}
MAY_BE_WITHHELD = [field for field in BODY if field.key not in (BODY_KEYS["id"], BODY_KEYS["tier_info"])]


def withheld_choices() -> list[tuple[str, SafeString]]:
    """Return the keys that may be withheld, each with its value for the synthetic member of test pushes."""
    body = payload.ProfilePayload().snapshot(test_push.SYNTHETIC)
    label = '{} <span class="lp-quiet">{}</span>'
    return [
        (field.key, format_html(label, field.key, Truncator(_as_json(body[field.key])).chars(40)))
        for field in MAY_BE_WITHHELD
    ]


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class IgnoredKeysField(forms.CharField):
    """Keys of the body, separated by commas or blanks. An unknown one is refused with the nearest known one."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        return list(dict.fromkeys((value or "").replace(",", " ").split()))

    def validate(self, value: Any) -> None:
        validators.ignored_keys(value)


class EndpointForm(forms.ModelForm):  # type: ignore[type-arg]
    """All fields except the credentials, for users who may change an endpoint but not its credentials."""

    retry_policy = forms.ChoiceField(
        label=_("Retry policy"),
        widget=forms.RadioSelect,
        help_text=_("When to retry a push that was not accepted."),
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

    ignored_keys = IgnoredKeysField(
        label=_("Ignored keys"),
        required=False,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
        initial=ignored_by_default,
        help_text=_(
            "With “only changes”: a change of these keys alone is not sent. Separate them by commas. Every update "
            "moves dateLastUpdated, so without it nothing is left out. Add dateLastLogin if the client does not need "
            "each login."
        ),
    )

    class Meta:
        model = ClientEndpoint
        fields = [
            "name",
            "url",
            "is_active",
            "audience",
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
            "only_changes",
            "ignored_keys",
        ]
        help_texts = {
            "only_changes": _(
                "Do not send an update whose body equals, apart from the ignored keys, the last one that the client "
                "accepted. The log shows it as cancelled. Resends are always sent."
            ),
            "name": _("The name on pages, in commands and in notices."),
            "audience": _(
                "Which members are sent to this endpoint. You choose the brandings on the next page; "
                "until then, nothing is sent."
            ),
            "ordering": _("What happens to an older update of a member when there is a newer one."),
            "max_in_flight": _("To this endpoint, over all workers."),
            "rate_limit_per_second": _(
                "Over all workers. Empty for no limit. 0.5 means one request every two seconds."
            ),
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
        """Return no headers for an emptied field."""
        headers = self.cleaned_data["extra_headers"]
        return {} if headers is None else headers

    def has_moved(self) -> bool:
        """Return whether the URL has another host, port or scheme than before."""
        if "url" not in self.changed_data:
            return False
        try:
            return endpoint_url.origin(self.cleaned_data.get("url", "")) != endpoint_url.origin(self.initial["url"])
        except EndpointUrlError:
            # The model's validation reports the invalid URL.
            return False

    def refuse_move(self, data: dict[str, Any]) -> None:
        """Add an error if there are stored credentials, because they must not be sent to the new host."""
        if any(getattr(self.instance, name) is not None for name in SECRETS):
            self.add_error(
                "url",
                _(
                    "The stored credentials belong to the old host. Ask someone who may change credentials to enter "
                    "new ones."
                ),
            )


class SecretField(forms.CharField):
    """A field for a secret. The page never shows its value, and a traceback shows it masked."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password"})
        super().__init__(required=False, strip=False, widget=widget, **kwargs)

    def clean(self, value: Any) -> Masked:
        """Return the typed text, masked."""
        return Masked(super().clean(value))


def with_masked_secrets(posted: QueryDict) -> QueryDict:
    """Return a copy of the posted data in which the secrets are masked."""
    copy = posted.copy()
    for name in SECRETS:
        if (field := f"new_{name}") in copy:
            copy.setlist(field, list(map(Masked, copy.getlist(field))))
    return copy


class EndpointFormWithCredentials(EndpointForm):
    """All fields. Secrets are typed into fields of their own, which the page never fills in."""

    new_password = SecretField(label=_("New password"), max_length=255)
    clear_password = forms.BooleanField(label=_("Delete the stored password"), required=False)
    new_api_key = SecretField(label=_("New API key"), max_length=1024)
    clear_api_key = forms.BooleanField(label=_("Delete the stored API key"), required=False)

    class Meta(EndpointForm.Meta):
        fields = [*EndpointForm.Meta.fields, "auth_method", "username"]
        help_texts = {
            **EndpointForm.Meta.help_texts,
            "auth_method": _("As the client requires. A signing secret can be added to each method."),
            "username": _("The user name that the client gave you."),
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
                self.add_error(
                    "username",
                    _("A user name is used by Basic authentication only. Clear it, or choose Basic authentication."),
                )
            # Another method clears it, because the user does not see the field and could not clear it.
            data["username"] = self.instance.username = ""
        for name, owner in SECRETS.items():
            self._set_secret(name, data, wanted=method == owner)
        return data

    def refuse_move(self, data: dict[str, Any]) -> None:
        """Do nothing: the error appears at each secret's own field, where a new one can be typed."""

    def _set_secret(self, name: str, data: dict[str, Any], *, wanted: bool) -> None:
        typed, clear = data.get(f"new_{name}") or "", data.get(f"clear_{name}")
        stored = getattr(self.instance, name) is not None
        problem: Any = ""
        if typed and clear:
            problem = _("Enter a new one or delete the stored one, not both.")
        elif typed and not wanted:
            problem = _("The chosen authentication does not use this. Choose the one that does, or leave it empty.")
        elif typed:
            problem = _problem_with(name, typed)
        elif stored and wanted and not clear and self.instance.pk and self.has_moved():
            problem = _("The URL has a new host, so the stored one is not sent. Enter it again.")
        elif wanted and name == "api_key" and (clear or not stored):
            problem = _("API key authentication needs a key. Enter it.")
        if problem:
            self.add_error(f"new_{name}", problem)
        if typed and not problem:
            setattr(self.instance, name, typed)
        elif problem or clear or not wanted:
            setattr(self.instance, name, None)

    def _post_clean(self) -> None:
        reported = any(f"new_{name}" in self.errors for name in SECRETS)
        super()._post_clean()  # type: ignore[misc]
        if reported:
            # The model reports the same problem at the method. The message at the secret's field is clearer.
            self.errors.pop("auth_method", None)


def stored_in_words(endpoint: ClientEndpoint, name: str) -> Any:
    """Return whether and since when a secret is stored, with the last characters of an API key as a hint."""
    try:
        text = endpoint.reveal(name) if endpoint.pk else None
    except SecretUnreadable:
        return _("One is stored, but can't be decrypted. Enter it again.")
    if text is None:
        return _("None is stored yet.")
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
    except ValueError as error:
        return str(translated(error))
    return ""
