"""Image's policy rules: Glance's documented names and defaults."""

from __future__ import annotations

ADMIN = "rule:context_is_admin"
MEMBER = "rule:context_is_admin or (role:member and project_id:%(project_id)s)"
READER = "rule:context_is_admin or (role:reader and project_id:%(project_id)s)"
SEES = (
    'project_id:%(project_id)s or project_id:%(member_id)s or "community":%(visibility)s'
    ' or "public":%(visibility)s or "shared":%(visibility)s'
)
SHARED_READER = "rule:context_is_admin or (role:reader and (project_id:%(project_id)s or project_id:%(member_id)s))"

RULES = {
    "default": "",
    "context_is_admin": "role:admin",
    "add_image": f"{ADMIN} or (role:member and project_id:%(project_id)s and project_id:%(owner)s)",
    "get_image": f"rule:context_is_admin or (role:reader and ({SEES}))",
    "get_images": READER,
    "modify_image": MEMBER,
    "delete_image": MEMBER,
    "publicize_image": ADMIN,
    "communitize_image": MEMBER,
    "upload_image": MEMBER,
    "download_image": f"rule:context_is_admin or (role:member and ({SEES}))",
    "deactivate": MEMBER,
    "reactivate": MEMBER,
    "add_member": MEMBER,
    "delete_member": MEMBER,
    "get_member": SHARED_READER,
    "get_members": SHARED_READER,
    "modify_member": "rule:context_is_admin or (role:member and project_id:%(member_id)s)",
}
